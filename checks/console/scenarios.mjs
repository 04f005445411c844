// What the console is tried with: `node scenarios.mjs NAME '{"url":…,"key":…}'`. test_console.py starts what is behind it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { accessible, ask, fitsWidth, inState, numberIn, picture, withKey, withPage } from "./browser.mjs";
import * as following from "./following.mjs";
import { chartsAreTables, chartsFollowColors, drawerWorks, fileIsWhole, idle, million, tableWorks } from "./steps.mjs";

const scenarios = {
  ...following,
  million,

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
      const cost = (truth.stats.total_cost.sum / 100).toLocaleString("en", {
        style: "currency",
        currency: "USD",
      });
      assert.ok(tiles[2].includes(cost), `${tiles[2]} ${cost}`);
      await tableWorks(page, truth.total);
      await drawerWorks(page);
      await chartsAreTables(page, truth.total);
      await fileIsWhole(page, truth.total);
      await accessible(page, "light");
      await picture(page, "light", { fullPage: true });
      await chartsFollowColors(page, { colorScheme: "dark" });
      await accessible(page, "dark");
      await picture(page, "dark", { fullPage: true });
      await chartsFollowColors(page, { forcedColors: "active" });
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
      const freshness = async (request) => (await request.allHeaders())["cache-control"];
      const [first] = seen.requests.filter((request) => request.url().includes("/executions/"));
      // By itself the page takes what is fresh; a person who asks again wants to know.
      assert.match(await freshness(first), /^max-age=\d{6,}$/);
      await page.keyboard.press("r");
      await page.waitForResponse((response) => response.url().includes("group_by=status"));
      await idle(page);
      const again = seen.responses
        .slice(before)
        .filter((response) => response.url().includes("/executions/"));
      // A slow page may have asked by itself meanwhile.
      const told = again.map((response) => `${response.status()} ${response.url()}`).join();
      assert.ok(again.length >= 2 && again.every((response) => response.status() === 304), told);
      const asked = await Promise.all(again.map((response) => freshness(response.request())));
      assert.ok(asked.includes("no-cache"), asked.join());
      await inState(page, "complete");
      // Interception turns the browser's cache off.
      if (process.env.CONSOLE_FILES === "disk") return;
      await page.reload();
      await inState(page, "complete");
      const files = await page.evaluate(() =>
        performance
          .getEntriesByType("resource")
          .filter(({ name }) => name.includes("/console/"))
          .map(({ name, transferSize }) => ({ name, transferSize })),
      );
      assert.ok(files.length > 20);
      // A 304 has headers only.
      assert.deepEqual(
        files.filter(({ transferSize }) => transferSize > 500),
        [],
      );
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
        order.push(
          await page.evaluate(() =>
            (document.activeElement?.closest("label") ?? document.activeElement)?.innerText
              .trim()
              .split("\n")[0]
              .trim(),
          ),
        );
        const isVisible = await page.evaluate(
          () => getComputedStyle(document.activeElement).outlineStyle !== "none",
        );
        assert.ok(isVisible, `nothing shows that the focus is on ${order.at(-1)}`);
      }
      assert.deepEqual(order.slice(0, 6), [
        "Skip to the table of calls",
        "Agents",
        "Range",
        "Time zone",
        "Refresh",
        "Forget key",
      ]);
      await page.keyboard.press("/");
      assert.equal(await page.evaluate(() => document.activeElement?.id), "search");
      await page.getByRole("button", { name: "Forget key" }).press("Enter");
      await page.locator("#key").waitFor();
      assert.equal(
        await page.evaluate(() => Object.keys(sessionStorage).length + Object.keys(localStorage).length),
        0,
      );
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
      await inState(page, kind);
      // The time of the next try comes a moment after the state.
      for (const word of words)
        await page.locator(`.status.${kind}`, { hasText: new RegExp(word) }).waitFor();
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
      await page.waitForFunction(
        (all) => document.querySelector(".tile dd")?.textContent.replace(",", "") === String(all),
        calls,
      );
      assert.match(page.url(), /agents=all/);
      await idle(page);
      await page.waitForFunction(
        (all) => document.querySelector("[role=grid]")?.getAttribute("aria-rowcount") === String(all + 1),
        calls,
      );
      assert.ok(await page.getByRole("columnheader", { name: "Agent" }).isVisible());
      const times = await page
        .locator(".grid .body .row")
        .evaluateAll((rows) => rows.map((row) => row.children[0].textContent));
      assert.deepEqual(times, [...times].sort().reverse());
      const names = await page
        .locator(".grid .body .row")
        .evaluateAll((rows) => new Set(rows.map((row) => row.children[6].textContent)).size);
      assert.ok(names > 1);
      await page.locator(".grid .body .row").first().click();
      await page.locator(".facts dd").nth(8).waitFor();
      await page.keyboard.press("Escape");
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: "Download CSV" }).click(),
      ]);
      assert.ok((await readFile(await download.path(), "utf8")).startsWith('"@agent_id"'));
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
      assert.deepEqual(
        await page.locator("dialog a").evaluateAll((links) => links.map((link) => link.href)),
        [],
      );
      assert.ok((await page.locator(".bars").allInnerTexts()).join().includes("<b>reason</b>"));
      await accessible(page, "drawer");
      assert.deepEqual(seen.faults, []);
    });
  },

  /** A stream that a proxy cut off is not taken for a whole one. */
  async cutOff({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      let isCut = true;
      await page.route(/\/executions\/changes\?/, async (route) => {
        if (!isCut) return route.continue();
        const response = await route.fetch();
        const body = (await response.text()).split("\n").slice(0, 40).join("\n");
        return route.fulfill({ response, body });
      });
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      const shown = await inState(page, "partial");
      assert.match(shown, /Table incomplete/);
      assert.match(
        await page.locator(".matches").innerText(),
        /40 calls, then the read failed|39 calls, then/,
      );
      await accessible(page, "cut off");
      // Until now the page may have tried again by itself.
      isCut = false;
      await page.getByRole("button", { name: "Try now" }).click();
      await inState(page, "complete");
    });
  },

  /** A file that a proxy cut off is not saved, also if nothing but the number of calls shows it. */
  async cutOffFile({ url, key, agent }) {
    await withPage({ url, key }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "complete");
      await page.route(/\/executions\/all\?.*format=csv/, async (route) => {
        const response = await route.fetch();
        const { "content-length": _length, ...headers } = response.headers();
        const body = (await response.text()).split("\r\n").slice(0, 100).join("\r\n");
        return route.fulfill({ status: 200, headers, body: `${body}\r\n` });
      });
      page.on("download", () => assert.fail("a file that was cut off is saved"));
      await page.getByRole("button", { name: "Download CSV" }).click();
      await page.getByText(/No file: the connection broke after 99 of [\d]+ calls/).waitFor();
    });
  },

  /** A browser that calls its zone by an old name shows that zone's days. */
  async oldZoneName({ url, key, agent }) {
    const browserOptions = { timezoneId: "Asia/Calcutta" };
    await withPage({ url, key, browserOptions }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "complete");
      assert.match(await page.locator(".zone select").inputValue(), /^Asia\/(Calcutta|Kolkata)$/);
      const created = (await ask(url, key, `agents/${agent}/executions/all?limit=1`)).data[0].created_at;
      const shown = await page.locator(".grid .body .row [role=gridcell]").first().innerText();
      const second = new Date(`${shown.replace(" ", "T")}+05:30`).toISOString().slice(0, 19);
      assert.equal(second, created.slice(0, 19));
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
    const browserOptions = {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
      deviceScaleFactor: 2,
    };
    await withPage({ url, key, browserOptions }, async (page) => {
      await page.goto(withKey(url, key, `&agents=${agent}&range=30d`));
      await inState(page, "complete");
      await page.locator(".grid .row").nth(5).waitFor();
      await fitsWidth(page);
      const cutOff = await page.locator("[role=columnheader]:visible").evaluateAll((heads) =>
        heads.filter((head) => head.scrollWidth > head.clientWidth).map((head) => head.textContent),
      );
      assert.deepEqual(cutOff, [], "headers that are cut off");
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
      assert.equal(
        await page.getByRole("link", { name: "API documentation" }).evaluate((link) => link.href),
        `${url}/docs`,
      );
    });
  },
};

const [name, given] = process.argv.slice(2);
await scenarios[name](JSON.parse(given));
