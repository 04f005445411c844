// Parts of the scenarios: what the table, the drawer, the charts and the file are held to.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { accessible, inState, numberIn, picture, withKey, withPage } from "./browser.mjs";

/** No request is under way. */
export async function idle(page) {
  await page.locator(".status .busy").waitFor({ state: "detached" });
}

export async function tableWorks(page, total) {
  const grid = page.getByRole("grid");
  await page.waitForFunction(
    (count) => document.querySelector("[role=grid]")?.getAttribute("aria-rowcount") === String(count + 1),
    total,
  );
  assert.ok((await page.locator(".grid .body .row").count()) < 80, "all rows are in the document");
  await grid.focus();
  await page.keyboard.press("End");
  await page.locator(`#call-${total - 1}.current`).waitFor();
  assert.equal(await page.locator(`#call-${total - 1}`).getAttribute("aria-rowindex"), String(total + 1));
  await page.keyboard.press("PageUp");
  await page.keyboard.press("Home");
  await page.locator("#call-0.current").waitFor();
  await page.getByRole("columnheader", { name: /Cost/ }).getByRole("button").click();
  await page.getByRole("columnheader", { name: /Cost/ }).getByRole("button").click();
  const costs = await page
    .locator(".grid .body .row")
    .evaluateAll((rows) =>
      rows.slice(0, 12).map((row) => Number(row.children[3].textContent.slice(1).replace(",", ""))),
    );
  assert.deepEqual(
    costs,
    [...costs].sort((one, two) => two - one),
  );
  await page.locator("#search").fill("busy line");
  await page.waitForFunction(() => /\d+ of /.test(document.querySelector(".matches").textContent));
  const reasons = await page
    .locator(".grid .body .row")
    .evaluateAll((rows) => rows.map((row) => row.children[5].textContent));
  assert.ok(reasons.length > 0 && reasons.every((reason) => reason === "Busy Line"), reasons.join());
  await page.locator("#search").fill("");
  await page
    .getByRole("columnheader", { name: /Created/ })
    .getByRole("button")
    .click();
}

export async function drawerWorks(page) {
  await page.locator("#search").fill("completed");
  await page.getByRole("grid").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.locator(".turns li").first().waitFor();
  const link = page.getByRole("link", { name: "Open in a new tab" });
  assert.match(await link.getAttribute("href"), /^https:\/\/recordings\.example\.com\//);
  assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
  await accessible(page, "drawer");
  await picture(page, "drawer");
  await page.getByText("Row as upstream wrote it").click();
  const raw = JSON.parse(await page.locator("dialog pre").innerText());
  assert.ok((await page.locator("dialog").innerText()).includes(raw.id));
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("role")), "grid");
  await page.locator("#search").fill("");
}

export async function chartsAreTables(page, total) {
  assert.equal(await page.locator(".chart canvas").count(), 2);
  const inked = await page.locator(".chart canvas").evaluateAll((all) =>
    all.map((canvas) =>
      canvas
        .getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height)
        .data.some((byte) => byte !== 0),
    ),
  );
  assert.deepEqual(inked, [true, true]);
  await page.evaluate(() => document.activeElement?.blur?.());
  await page.keyboard.press("t");
  const rows = await page.locator(".figures tbody tr td:nth-child(2)").allInnerTexts();
  const calls = rows.filter((text) => !text.startsWith("$")).map(numberIn);
  assert.equal(
    calls.reduce((sum, one) => sum + one, 0),
    total,
  );
  await accessible(page, "charts as tables");
  await page.keyboard.press("t");
}

/** What is on a canvas does not follow the page's colors by itself. */
export async function chartsFollowColors(page, media) {
  const drawn = () =>
    page.locator(".chart canvas").evaluateAll((all) => all.map((canvas) => canvas.toDataURL()).join());
  const before = await drawn();
  await page.emulateMedia(media);
  await page.waitForFunction(
    (old) => {
      const all = [...document.querySelectorAll(".chart canvas")];
      return all.length === 2 && all.map((canvas) => canvas.toDataURL()).join() !== old;
    },
    before,
  );
}

export async function fileIsWhole(page, total) {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download CSV" }).click(),
  ]);
  const text = await readFile(await download.path(), "utf8");
  assert.match(download.suggestedFilename(), /^executions-.*\.csv$/);
  assert.ok(text.startsWith('"id"'), text.slice(0, 80));
  await page.getByText(/Saved [\d,]+ call/).waitFor();
  if (total !== null) assert.equal(numberIn(await page.getByText(/Saved [\d,]+ call/).innerText()), total);
}

/** Of a million calls the totals are of all, the table has the newest 50,000 and says so, and the page stays quick. */
export async function million({ url, key, agent }) {
  await withPage({ url, key }, async (page) => {
    const most = 50_000;
    const lines = (count) => Array.from({ length: count }, (_none, at) =>
      JSON.stringify({
        id: `${String(at).padStart(8, "0")}-0000-4000-8000-000000000000`,
        created_at: new Date(Date.now() - at * 1_000).toISOString(),
        status: at % 3 ? "completed" : "busy",
        conversation_duration: at % 500,
        total_cost: at % 977,
        user_number: `+9198${String(at % 9_000).padStart(8, "0")}`,
        telephony_data: { hangup_reason: `reason ${at % 9_000}` },
      }),
    ).join("\n");
    const end = { complete: true, count: most, as_of: new Date().toISOString(), has_more: true };
    const stat = { count: 1_203_444, sum: 4_200_000, min: 0, max: 976 };
    const groups = Array.from({ length: 9_000 }, (_none, at) => ({
      key: {
        "@day": new Date(Date.now() - (at % 90) * 86_400_000).toISOString().slice(0, 10),
        status: "completed",
        "telephony_data.hangup_reason": `reason ${at}`,
      },
      count: 133,
      stats: { total_cost: stat, conversation_duration: stat },
    }));
    const summary = {
      agent_id: agent,
      as_of: end.as_of,
      complete: true,
      total: 1_203_444,
      time_zone: "UTC",
      stats: { total_cost: stat, conversation_duration: stat },
      groups,
    };
    // The page ends the first read when its table is full, and never needs its end.
    await page.route(/\/executions\/changes\?/, (route) =>
      route.fulfill({ contentType: "application/x-ndjson", body: `${lines(most + 500)}\n` }),
    );
    await page.route(/\/executions\/all\?.*limit=50000/, (route) =>
      route.fulfill({
        contentType: "application/x-ndjson",
        body: `${lines(most)}\n${JSON.stringify({ "@end": end })}\n`,
      }),
    );
    await page.route(/\/summary\?.*group_by=%40day/, (route) => route.fulfill({ json: summary }));
    await page.route(/\/summary\?.*group_by=status/, (route) => route.fulfill({ json: summary }));
    await page.goto(withKey(url, key, `&agents=${agent}&range=90d`));
    await inState(page, "complete");
    const hasTotal = (total) =>
      page.locator(".matches", { hasText: `(the newest 50,000 of ${total}; totals are of all)` }).waitFor();
    await hasTotal("1,203,444");
    assert.equal(numberIn(await page.locator(".tile").first().innerText()), 1_203_444);
    await page.getByText("The 10 most frequent of 9,000; the others have 1,195,670 calls.").first().waitFor();
    // What is asked again is the newest rows.
    summary.total = 1_203_445;
    const [again] = await Promise.all([
      page.waitForResponse(/\/executions\/(all|changes)\?/),
      page.keyboard.press("r"),
    ]);
    assert.match(again.url(), /\/all\?.*limit=50000/);
    await hasTotal("1,203,445");
    await page.locator("#search").fill("reason 8999");
    await page.waitForFunction(() =>
      document.querySelector(".matches").textContent.startsWith("5 of 50,000 calls (the newest"),
    );
    await page.locator("#search").fill("");
    await page.getByRole("columnheader", { name: /Cost/ }).getByRole("button").click();
    await page.getByRole("grid").focus();
    await page.keyboard.press("End");
    await page.locator(`#call-${most - 1}.current`).waitFor();
    assert.ok((await page.evaluate(() => document.querySelectorAll("*").length)) < 2_000);
    const heap = await page.evaluate(() => {
      window.gc();
      return performance.memory.usedJSHeapSize / 1e6;
    });
    assert.ok(heap < 60, `${heap} MB`);
    console.log(`${heap.toFixed(1)} MB`);
    // Where all rows can't be read, the newest are, as soon as the totals have come.
    const refusal = { status: 429, json: { status: 429, code: "rate_limited", detail: "no memory left" } };
    await page.unroute(/\/executions\/changes\?/);
    await page.route(/\/executions\/changes\?/, (route) => route.fulfill(refusal));
    await page.reload();
    await inState(page, "complete");
    await hasTotal("1,203,445");
  });
}
