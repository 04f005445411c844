// Scenarios of rows that change while the page is open. `control` is the address at which test_console_rows.py changes them.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { accessible, ask, inState, withKey, withPage } from "./browser.mjs";
import { idle } from "./steps.mjs";

/** Has something done behind the page, such as `edit?id=…&status=failed`. */
async function tell(control, what) {
  const response = await fetch(`${control}/${what}`, { method: "POST" });
  assert.equal(response.status, 200, `${what}: ${await response.text()}`);
}

const isRows = (response) => /\/executions\/(all|changes)\?/.test(response.url());
const isData = (response) => response.url().includes("/executions/");

/** Asks again; the responses about executions that this took. */
async function refresh(page, seen) {
  const before = seen.responses.length;
  await Promise.all([
    page.waitForResponse((response) => new URL(response.url()).pathname.endsWith("/status")),
    // Also below an open dialog, where no key and no pointer reaches it.
    page.evaluate(() => document.querySelector(".controls .buttons button").click()),
  ]);
  await idle(page);
  return seen.responses.slice(before).filter(isData);
}

/** The bytes of responses on the wire, heads included. */
async function transferred(responses) {
  const sizes = await Promise.all(responses.map((response) => response.request().sizes()));
  return sizes.reduce((sum, one) => sum + one.responseBodySize + one.responseHeadersSize, 0);
}

async function open(page, { url, key, agent }) {
  await page.goto(withKey(url, key, `&agents=${agent}&range=30d&zone=UTC`));
  await inState(page, "complete");
  await page.locator(".grid .body .row").nth(10).waitFor();
  await idle(page);
}

/** The table has these calls and no others, in order. */
async function hasRows(page, { url, key, agent }) {
  const path = `agents/${agent}/executions/all?fields=id,created_at,status&from=2000-01-01`;
  const { data } = await ask(url, key, path);
  await page.waitForFunction(
    (count) => document.querySelector("[role=grid]").getAttribute("aria-rowcount") === String(count + 1),
    data.length,
  );
  const truth = data.map(({ created_at: at, status }) => `${at.slice(0, 19).replace("T", " ")} ${status}`);
  const shown = new Map();
  const grid = page.getByRole("grid");
  for (let top = 0; top < data.length * 34; top += 340) {
    await grid.evaluate((element, to) => {
      element.scrollTop = to;
      return new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame));
    }, top);
    const rows = await page
      .locator(".grid .body .row")
      .evaluateAll((all) =>
        all.map((row) => [
          Number(row.getAttribute("aria-rowindex")) - 2,
          `${row.children[0].textContent} ${row.children[1].textContent}`,
        ]),
      );
    rows.forEach(([at, text]) => shown.set(at, text));
  }
  assert.deepEqual(
    truth.map((_text, at) => shown.get(at)),
    truth,
  );
  return data;
}

/** Where the current call is drawn. */
async function place(page) {
  return page.evaluate(() => {
    const grid = document.querySelector(".grid");
    const row = grid.querySelector(".row.current");
    return {
      created: row?.children[0].textContent,
      index: Number(row?.getAttribute("aria-rowindex")) - 2,
      top: Math.round(row?.getBoundingClientRect().top - grid.getBoundingClientRect().top),
      isActive: grid.getAttribute("aria-activedescendant") === row?.id,
      hasFocus: document.activeElement === grid,
    };
  });
}

/** Where the current call is, once the table has been drawn and does not move any more. */
async function current(page) {
  let [before, now] = [null, await place(page)];
  for (let left = 300; left > 0; left -= 1) {
    if (now.isActive && now.hasFocus && isDeepStrictEqual(before, now)) break;
    await page.evaluate(() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)));
    [before, now] = [now, await place(page)];
  }
  return now;
}

/** Counts how often something is announced from now on. */
async function countAnnouncements(page) {
  await page.evaluate(() => {
    window.announcements = [];
    const region = document.querySelector(".announced");
    new MutationObserver(() => window.announcements.push(region.textContent)).observe(region, {
      characterData: true,
      childList: true,
      subtree: true,
    });
  });
  return () => page.evaluate(() => window.announcements);
}

/** Only what changed is sent, and applied; the reader's place, focus and announcements are those of the same call. */
export async function follows({ url, key, agent, control }) {
  await withPage({ url, key }, async (page, seen) => {
    await open(page, { url, key, agent });
    const first = seen.responses.filter(isRows).map((response) => response.url());
    assert.ok(first.length === 1 && first[0].includes("/changes?") && !first[0].includes("since="), first);
    await hasRows(page, { url, key, agent });

    const quiet = await refresh(page, seen);
    assert.ok(quiet.length > 0 && (await transferred(quiet)) < 2_000, `${await transferred(quiet)} bytes`);

    const grid = page.getByRole("grid");
    await grid.focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("PageDown");
    await page.keyboard.press("PageDown");
    const before = await current(page);
    assert.ok(before.hasFocus && before.isActive && before.index > 10, JSON.stringify(before));
    const announcements = await countAnnouncements(page);
    await tell(control, "add?rows=12");
    await tell(control, "remove?newest=14");
    await tell(control, "remove?newest=16");
    await tell(control, "edit?newest=40&status=failed");
    const rows = (await refresh(page, seen)).filter(isRows);
    assert.equal(rows.length, 1);
    assert.match(rows[0].url(), /\/changes\?.*since=/);
    const text = await rows[0].text();
    assert.equal(text.split("\n").filter((line) => line.startsWith('{"id"')).length, 13, text);
    assert.equal(text.split("\n").filter((line) => line.startsWith('{"@removed"')).length, 2, text);
    assert.ok((await transferred(rows)) < 6_000, `${await transferred(rows)} bytes`);
    const after = await current(page);
    assert.deepEqual(after, { ...before, index: before.index + 10 });
    assert.deepEqual(await announcements(), ["12 new calls, 2 gone; 310 calls in all."]);
    await refresh(page, seen);
    assert.equal((await announcements()).length, 1, "it is announced once");
    await accessible(page, "followed");
    const truth = await hasRows(page, { url, key, agent });
    assert.equal(truth.length, 310);
  });
}

/** The drawer stays on its call while that goes on and others come, and after it is gone the next call is current. */
export async function drawerFollows({ url, key, agent, control }) {
  await withPage({ url, key }, async (page, seen) => {
    await open(page, { url, key, agent });
    await page.getByRole("grid").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    const { top } = await current(page);
    await page.keyboard.press("Enter");
    const fact = (name) => page.locator(".facts div", { hasText: new RegExp(`^${name}`) }).locator("dd");
    const id = await fact("Id").innerText();
    await page.getByText("Row as upstream wrote it").click();
    await tell(control, "add?rows=5");
    await tell(control, `edit?id=${id}&status=call-disconnected`);
    await refresh(page, seen);
    await page.locator(".facts dd", { hasText: "call-disconnected" }).waitFor();
    await page.locator("dialog pre", { hasText: "call-disconnected" }).waitFor();
    assert.equal(await fact("Id").innerText(), id);
    await tell(control, `remove?id=${id}`);
    await refresh(page, seen);
    assert.equal(await fact("Id").innerText(), id);
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    const { hasFocus, isActive, index, top: topNow } = await current(page);
    assert.deepEqual({ hasFocus, isActive, index, topNow }, { hasFocus: true, isActive: true, index: 6, topNow: top });
  });
}

/** A gateway that lost its change logs is asked for everything, and what it does not have goes. */
export async function restarted({ url, key, agent, control }) {
  await withPage({ url, key }, async (page, seen) => {
    await open(page, { url, key, agent });
    await tell(control, "add?rows=2");
    await tell(control, "remove?newest=7");
    await tell(control, "restart");
    const rows = (await refresh(page, seen)).filter(isRows);
    assert.deepEqual(
      rows.map((response) => [response.status(), response.url().includes("since=")]),
      [
        [410, true],
        [200, false],
      ],
    );
    await inState(page, "complete");
    await hasRows(page, { url, key, agent });
    await tell(control, "add?rows=1");
    const next = (await refresh(page, seen)).filter(isRows);
    assert.ok(next.length === 1 && next[0].url().includes("since="), next.map((response) => response.url()));
    await hasRows(page, { url, key, agent });
  });
}

/** Where there is no cursor, the newest rows are asked for again. */
export async function withoutCursor({ url, key, agent, control }) {
  await withPage({ url, key }, async (page, seen) => {
    await open(page, { url, key, agent });
    await tell(control, "add?rows=2");
    await tell(control, "remove?newest=7");
    const rows = (await refresh(page, seen)).filter(isRows);
    assert.equal(rows.length, 1);
    assert.match(rows[0].url(), /\/all\?.*limit=50000/);
    await hasRows(page, { url, key, agent });
  });
}

/** A response that breaks off or says that it is incomplete changes neither rows nor cursor, and the page says so. */
export async function brokenChanges({ url, key, agent, control }) {
  await withPage({ url, key }, async (page, seen) => {
    await open(page, { url, key, agent });
    const count = await page.getByRole("grid").getAttribute("aria-rowcount");
    await tell(control, "add?rows=3");
    await tell(control, "remove?newest=7");
    const error = { code: "upstream_timeout", status: 504, detail: "no answer", request_id: "r-7" };
    const verdict = { complete: false, count: 0, error };
    const cut = [
      (text) => text.slice(0, text.indexOf('{"@removed"')),
      (text) => `${text.slice(0, text.indexOf('{"@end"'))}${JSON.stringify({ "@end": verdict })}\n`,
    ];
    const cursors = new Set();
    const isFollowing = /\/executions\/changes\?.*since=/;
    for (const change of cut) {
      await page.route(isFollowing, async (route) => {
        cursors.add(new URL(route.request().url()).searchParams.get("since"));
        const response = await route.fetch();
        await route.fulfill({ response, body: change(await response.text()) });
      });
      await refresh(page, seen);
      const told = await inState(page, "stale");
      assert.match(told, /Table out of date/);
      assert.match(told, /Request id|r-7/);
      assert.equal(await page.getByRole("grid").getAttribute("aria-rowcount"), count);
      await accessible(page, "table out of date");
      await page.unroute(isFollowing);
    }
    assert.equal(cursors.size, 1, "the cursor moved on");
    await page.getByRole("button", { name: "Try now" }).click();
    await inState(page, "complete");
    await idle(page);
    await hasRows(page, { url, key, agent });
  });
}
