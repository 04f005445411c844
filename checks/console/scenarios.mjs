// What the console is tried with: `node scenarios.mjs NAME '{"url":…,"key":…}'`. test_console.py starts what is behind it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { accessible, ask, fitsWidth, inState, numberIn, picture, withKey, withPage } from "./browser.mjs";

const scenarios = {
  /** Totals, charts, table, drawer and file of an agent, as the gateway has them. */
  async everything({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d&zone=Asia/Kolkata`));
      assert.ok(!page.url().includes(key), page.url());
      await inState(page, "complete");
      await page.locator(".grid .row").nth(10).waitFor();
      const from = await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get("range"));
      assert.equal(from, "30d");
      const tiles = await page.locator(".tile").allInnerTexts();
      const asked = new URL(page.url());
      assert.equal(asked.search, "");
      const first = new Date(Date.now() + 5.5 * 3_600_000 - 29 * 86_400_000).toISOString().slice(0, 10);
      const path = `agents/${agent}/executions/summary?from=${first}&time_zone=Asia/Kolkata`;
      const truth = await ask(url, key, path);
      assert.equal(numberIn(tiles[0]), truth.total, tiles[0]);
      const cost = (truth.stats.total_cost.sum / 100).toLocaleString("en", { style: "currency", currency: "USD" });
      assert.ok(tiles[2].includes(cost), `${tiles[2]} ${cost}`);
      await tableWorks(page, truth.total);
      await drawerWorks(page);
      await chartsAreTables(page, truth.total);
      await fileIsWhole(page, truth.total);
      await accessible(page, "light");
      await picture(page, "light", { fullPage: true });
      await page.emulateMedia({ colorScheme: "dark" });
      await accessible(page, "dark");
      await picture(page, "dark", { fullPage: true });
    });
  },

  /** What was read is asked for with its validator, and files of the page are not sent twice. */
  async unchanged({ url, key, agent }) {
    await withPage({ url, key }, async (page, seen) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "complete");
      await page.locator(".grid .row").nth(10).waitFor();
      await idle(page);
      const before = seen.responses.length;
      await page.keyboard.press("r");
      await page.waitForResponse((response) => response.url().includes("group_by=status"));
      await idle(page);
      const again = seen.responses.slice(before).filter((response) => response.url().includes("/executions/"));
      assert.deepEqual(again.map((response) => response.status()), [304, 304], again.map((response) => response.url()).join());
      await inState(page, "complete");
      const reload = seen.responses.length;
      await page.reload();
      await inState(page, "complete");
      const files = seen.responses.slice(reload).filter((response) => response.url().includes("/console/") && !response.request().isNavigationRequest());
      assert.ok(files.length > 20);
      const fresh = files.filter((response) => response.status() !== 304 && !response.fromServiceWorker());
      assert.deepEqual(fresh.map((response) => `${response.status()} ${response.url()}`).filter((text) => !text.startsWith("200 ") || false), []);
    });
  },

  /** From no key to a key and back, with the keyboard alone. */
  async keyboard({ url, key }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(`${url}/console/`);
      await page.locator("#key").waitFor();
      await accessible(page, "no key");
      await picture(page, "no-key");
      await page.keyboard.type("two words");
      await page.keyboard.press("Enter");
      await page.getByText("This can't be a key").waitFor();
      await page.locator("#key").fill("");
      await page.keyboard.type(key);
      await page.keyboard.press("Enter");
      await inState(page, "complete");
      await page.locator(".grid .row").nth(5).waitFor();
      await page.evaluate(() => document.activeElement?.blur?.());
      const order = [];
      for (let step = 0; step < 14; step += 1) {
        await page.keyboard.press("Tab");
        order.push(await page.evaluate(() => (document.activeElement?.closest("label") ?? document.activeElement)?.innerText.trim().split("\n")[0].trim()));
        const isVisible = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none");
        assert.ok(isVisible, `nothing shows that the focus is on ${order.at(-1)}`);
      }
      assert.deepEqual(order.slice(0, 6), ["Skip to the table of calls", "Agents", "Range", "Time zone", "Refresh", "Forget key"]);
      await page.keyboard.press("/");
      assert.equal(await page.evaluate(() => document.activeElement?.id), "search");
      await page.getByRole("button", { name: "Forget key" }).press("Enter");
      await page.locator("#key").waitFor();
      assert.equal(await page.evaluate(() => Object.keys(sessionStorage).length + Object.keys(localStorage).length), 0);
    });
  },

  /** A key in the query is not used, and goes from the address. */
  async queryKey({ url, key }) {
    await withPage({ url, key: "" }, async (page, seen) => {
      await page.goto(`${url}/console?key=${key}`);
      await page.getByText("was not used").waitFor();
      assert.ok(!page.url().includes(key), page.url());
      assert.equal(await page.evaluate(() => sessionStorage.length), 0);
      assert.ok(!seen.requests.some((request) => !request.url().includes("/console")));
      await page.goBack().catch(() => {});
      await page.goForward().catch(() => {});
      assert.ok(!page.url().includes(key), page.url());
    });
  },

  /** A state in words, on a page that is still fit to be used. */
  async state({ url, key, agent, kind, words, range = "7d", tries = 1 }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=${range}`));
      for (let left = tries; left > 1; left -= 1) {
        await inState(page, "complete");
        await page.keyboard.press("r");
      }
      const told = await inState(page, kind);
      for (const word of words) assert.match(told, new RegExp(word));
      await accessible(page, kind);
      await fitsWidth(page);
      await picture(page, kind);
    });
  },

  /** What was read stays, and says how old it is, while upstream is gone. */
  async stale({ url, key, agent, pid }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}`));
      await inState(page, "complete");
      process.kill(pid, "SIGSTOP");
      try {
        await page.waitForTimeout(2_500);
        await page.keyboard.press("r");
        const told = await inState(page, "stale");
        assert.match(told, /Out of date/);
        assert.match(told, /as of \d+ s/);
        await accessible(page, "stale");
        await picture(page, "stale");
      } finally {
        process.kill(pid, "SIGCONT");
      }
    });
  },

  /** A key that the gateway does not accept is forgotten, with words. */
  async refused({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, agent ? `&agents=${agent}` : ""));
      await page.getByText("does not accept this key").waitFor();
      assert.equal(await page.evaluate(() => sessionStorage.length), 0);
      await accessible(page, "refused");
    });
  },

  /** Where the list of agents is not to be had, an agent's id serves. */
  async pastedAgent({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key));
      await page.getByText("Choose an agent.").waitFor();
      await page.locator(".picker summary").click();
      await page.getByText("can't be read").waitFor();
      await page.locator(".choices input[type=search]").fill(agent);
      await accessible(page, "picker");
      await page.getByRole("button", { name: "Show this agent" }).click();
      await inState(page, "complete");
    });
  },

  /** Several agents, chosen by the keyboard, and then all of them. */
  async severalAgents({ url, key, agents, calls }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agents[0]}&range=30d`));
      await inState(page, "complete");
      const summary = page.locator(".picker summary");
      await summary.focus();
      await page.keyboard.press("Enter");
      await page.getByRole("checkbox").nth(2).focus();
      await page.keyboard.press("Space");
      await accessible(page, "picker");
      await picture(page, "picker");
      await page.getByRole("checkbox", { name: /^All/ }).check();
      await page.getByRole("button", { name: /^Show all/ }).press("Enter");
      assert.equal(await page.evaluate(() => document.activeElement?.tagName), "SUMMARY");
      await page.waitForFunction((all) => document.querySelector(".tile dd")?.textContent.replace(",", "") === String(all), calls);
      assert.match(page.url(), /agents=all/);
      await idle(page);
      await page.waitForFunction((all) => document.querySelector("[role=grid]")?.getAttribute("aria-rowcount") === String(all + 1), calls);
      assert.ok(await page.getByRole("columnheader", { name: "Agent" }).isVisible());
      const times = await page.locator(".grid .body .row").evaluateAll((rows) => rows.map((row) => row.children[0].textContent));
      assert.deepEqual(times, [...times].sort().reverse());
      const names = await page.locator(".grid .body .row").evaluateAll((rows) => new Set(rows.map((row) => row.children[6].textContent)).size);
      assert.ok(names > 1);
      await page.locator(".grid .body .row").first().click();
      await page.locator(".facts dd").nth(8).waitFor();
      await page.keyboard.press("Escape");
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
      assert.ok((await readFile(await download.path(), "utf8")).startsWith('"@agent_id"'));
    });
  },

  /** Of a million calls the totals are of all, the table has the newest 50,000 and says so, and the page stays quick. */
  async million({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      const most = 50_000;
      const rows = Array.from({ length: most }, (_none, at) => JSON.stringify({
        id: `${String(at).padStart(8, "0")}-0000-4000-8000-000000000000`,
        created_at: new Date(Date.now() - at * 1_000).toISOString(),
        status: at % 3 ? "completed" : "busy",
        conversation_duration: at % 500,
        total_cost: at % 977,
        user_number: `+9198${String(at % 9_000).padStart(8, "0")}`,
        telephony_data: { hangup_reason: `reason ${at % 9_000}` },
      }));
      const end = { complete: true, count: most, as_of: new Date().toISOString(), has_more: true };
      const stat = { count: 1_203_444, sum: 4_200_000, min: 0, max: 976 };
      const groups = Array.from({ length: 9_000 }, (_none, at) => ({
        key: { "@day": new Date(Date.now() - (at % 90) * 86_400_000).toISOString().slice(0, 10), status: "completed", "telephony_data.hangup_reason": `reason ${at}` },
        count: 133,
        stats: { total_cost: stat, conversation_duration: stat },
      }));
      const summary = { agent_id: agent, as_of: end.as_of, complete: true, total: 1_203_444, time_zone: "UTC", stats: { total_cost: stat, conversation_duration: stat }, groups };
      await page.route(/\/executions\/all\?/, (route) => route.fulfill({ contentType: "application/x-ndjson", body: `${rows.join("\n")}\n${JSON.stringify({ "@end": end })}\n` }));
      await page.route(/\/summary\?.*group_by=%40day/, (route) => route.fulfill({ json: summary }));
      await page.route(/\/summary\?.*group_by=status/, (route) => route.fulfill({ json: summary }));
      await page.goto(withKey(url, key, `&agents=${agent}&range=90d`));
      await inState(page, "complete");
      await page.getByText("(the newest 50,000 of 1,203,444; totals are of all)").waitFor();
      assert.equal(numberIn(await page.locator(".tile").first().innerText()), 1_203_444);
      await page.getByText("The 10 most frequent of 9,000; the others have 1,195,670 calls.").first().waitFor();
      await page.locator("#search").fill("reason 8999");
      await page.waitForFunction(() => document.querySelector(".matches").textContent.startsWith("5 of 50,000 calls (the newest"));
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
    });
  },

  /** Text of upstream's stays text, and only links to web pages are links. */
  async untrusted({ url, key, agent }) {
    await withPage({ url, key }, async (page, seen) => {
      await page.goto(withKey(url, key, `&agents=${agent}`));
      await inState(page, "complete");
      await page.locator(".grid .body .row").first().click();
      await page.locator(".turns li").first().waitFor();
      assert.equal(await page.locator("#app img, #app script, #app iframe").count(), 0);
      assert.ok((await page.locator("dialog").innerText()).includes("<img src=x onerror="));
      assert.deepEqual(await page.locator("dialog a").evaluateAll((links) => links.map((link) => link.href)), []);
      assert.ok((await page.locator(".bars").allInnerTexts()).join().includes("<b>reason</b>"));
      await accessible(page, "drawer");
      assert.deepEqual(seen.faults, []);
    });
  },

  /** A stream that a proxy cut off is not taken for a whole one. */
  async cutOff({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      let cuts = 1;
      await page.route(/\/executions\/all\?/, async (route) => {
        if (cuts === 0) return route.continue();
        cuts -= 1;
        const response = await route.fetch();
        const body = (await response.text()).split("\n").slice(0, 40).join("\n");
        return route.fulfill({ response, body });
      });
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      const told = await inState(page, "partial");
      assert.match(told, /Table incomplete/);
      assert.match(await page.locator(".matches").innerText(), /40 calls, then the reading failed|39 calls, then/);
      await accessible(page, "cut off");
      await page.getByRole("button", { name: "Try now" }).click();
      await inState(page, "complete");
    });
  },

  /** While rows arrive, the page says how far it is. */
  async loading({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "loading");
      await page.getByText(/calls so far, back to \d{4}-\d\d-\d\d/).waitFor();
      await accessible(page, "loading");
      await picture(page, "loading");
      await inState(page, "complete");
    });
  },

  /** On a phone nothing sticks out, and everything can be reached. */
  async phone({ url, key, agent }) {
    const browserOptions = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
    await withPage({ url, key, browserOptions }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "complete");
      await page.locator(".grid .row").nth(5).waitFor();
      await fitsWidth(page);
      await accessible(page, "phone");
      await picture(page, "phone", { fullPage: true });
      await page.locator(".picker summary").tap();
      await fitsWidth(page);
      await page.keyboard.press("Escape");
      await page.locator(".grid .body .row").first().tap();
      await page.locator(".turns li, .facts").first().waitFor();
      await fitsWidth(page);
      await accessible(page, "drawer");
      await picture(page, "phone-drawer");
    });
  },

  /** Below a path prefix every request stays there. */
  async subPath({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(`${url}/console#key=${key}&agents=${agent}`);
      await inState(page, "complete");
      assert.ok(page.url().startsWith(`${url}/console/#agents=`), page.url());
      await page.locator(".grid .body .row").first().click();
      await page.locator(".facts dd").first().waitFor();
      await page.keyboard.press("Escape");
      await fileIsWhole(page, null);
      assert.equal(await page.getByRole("link", { name: "API documentation" }).evaluate((link) => link.href), `${url}/docs`);
    });
  },
};

/** No request is under way. */
async function idle(page) {
  await page.locator(".status .busy").waitFor({ state: "detached" });
}

async function tableWorks(page, total) {
  const grid = page.getByRole("grid");
  await page.waitForFunction((count) => document.querySelector("[role=grid]")?.getAttribute("aria-rowcount") === String(count + 1), total);
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
  const costs = await page.locator(".grid .body .row").evaluateAll((rows) => rows.slice(0, 12).map((row) => Number(row.children[3].textContent.slice(1).replace(",", ""))));
  assert.deepEqual(costs, [...costs].sort((one, two) => two - one));
  await page.locator("#search").fill("busy line");
  await page.waitForFunction(() => /\d+ of /.test(document.querySelector(".matches").textContent));
  const reasons = await page.locator(".grid .body .row").evaluateAll((rows) => rows.map((row) => row.children[5].textContent));
  assert.ok(reasons.length > 0 && reasons.every((reason) => reason === "Busy Line"), reasons.join());
  await page.locator("#search").fill("");
  await page.getByRole("columnheader", { name: /Created/ }).getByRole("button").click();
}

async function drawerWorks(page) {
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

async function chartsAreTables(page, total) {
  assert.equal(await page.locator(".chart canvas").count(), 2);
  const inked = await page.locator(".chart canvas").evaluateAll((all) =>
    all.map((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte !== 0)));
  assert.deepEqual(inked, [true, true]);
  await page.evaluate(() => document.activeElement?.blur?.());
  await page.keyboard.press("t");
  const rows = await page.locator(".figures tbody tr td:nth-child(2)").allInnerTexts();
  const calls = rows.filter((text) => !text.startsWith("$")).map(numberIn);
  assert.equal(calls.reduce((sum, one) => sum + one, 0), total);
  await accessible(page, "charts as tables");
  await page.keyboard.press("t");
}

async function fileIsWhole(page, total) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
  const text = await readFile(await download.path(), "utf8");
  assert.match(download.suggestedFilename(), /^executions-.*\.csv$/);
  assert.ok(text.startsWith('"id"'), text.slice(0, 80));
  await page.getByText(/Saved [\d,]+ call/).waitFor();
  if (total !== null) assert.equal(numberIn(await page.getByText(/Saved [\d,]+ call/).innerText()), total);
}

const [name, given] = process.argv.slice(2);
await scenarios[name](JSON.parse(given));
