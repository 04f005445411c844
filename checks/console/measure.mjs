// How quick and how heavy the console is: `node measure.mjs URL KEY AGENT [RANGE]`, with a gateway that has read the agent before.
// Times are milliseconds after the last byte of the response that is drawn.

import { inState, withKey, withPage } from "./browser.mjs";

const [url, key, agent, range = "all"] = process.argv.slice(2);

await withPage({ url, key }, async (page) => {
  await page.addInitScript(() => {
    window.marks = {};
    window.longTasks = [];
    const mark = (name, holds) => {
      if (!(name in window.marks) && holds()) window.marks[name] = performance.now();
    };
    const words = (selector) => document.querySelector(selector)?.textContent ?? "";
    new MutationObserver(() => {
      mark("tiles", () => /\d/.test(words(".tile dd")));
      mark("charts", () => document.querySelectorAll(".chart canvas").length === 2);
      mark("first row", () => document.querySelectorAll(".grid .body .row").length > 2);
      mark("whole table", () => /\d/.test(words(".matches")) && !words(".matches").includes("reading"));
    }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longTasks.push(Math.round(entry.duration));
    }).observe({ type: "longtask", buffered: true });
  });
  // Time on the processor: on a busy machine, time on the clock is mostly that of others.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.goto(withKey(url, key, `&agents=${agent}&range=${range}`));
  await inState(page, "complete");
  await page.locator(".status .busy").waitFor({ state: "detached" });
  const times = await page.evaluate(() => {
    const end = (part) =>
      performance
        .getEntriesByType("resource")
        .filter(({ name }) => name.includes(part))
        .reduce((last, entry) => Math.max(last, entry.responseEnd), 0);
    const { marks } = window;
    const rounded = (time) => Math.round(time);
    return {
      "script started": rounded(
        performance.getEntriesByType("resource").find(({ name }) => name.endsWith("main.mjs")).responseEnd,
      ),
      "tiles after totals": rounded(marks.tiles - end("/summary?")),
      "charts after totals": rounded(marks.charts - end("/summary?")),
      "first row": rounded(marks["first row"]),
      "whole table after its rows": rounded(
        marks["whole table"] - Math.max(end("/changes?"), end("/all?")),
      ),
      "whole table since the page began": rounded(marks["whole table"]),
      "long tasks": window.longTasks,
    };
  });
  const { metrics } = await devtools.send("Performance.getMetrics");
  const processor = Object.fromEntries(
    metrics
      .filter(({ name }) => /^(Task|Script|Layout|RecalcStyle)Duration$/.test(name))
      .map(({ name, value }) => [name, Math.round(value * 1_000)]),
  );
  const rows = Number(await page.locator(".grid").getAttribute("aria-rowcount")) - 1;
  const frames = await page.evaluate(async () => {
    const grid = document.querySelector(".grid");
    const seen = [];
    let last = performance.now();
    for (let step = 0; step < 120; step += 1) {
      grid.scrollTop += 400;
      const now = await new Promise(requestAnimationFrame);
      seen.push(now - last);
      last = now;
    }
    return {
      worst: Math.round(seen.reduce((one, two) => Math.max(one, two))),
      above50: seen.filter((time) => time > 50).length,
      of: seen.length,
    };
  });
  const search = await page.evaluate(async () => {
    const input = document.getElementById("search");
    const began = performance.now();
    input.value = "busy";
    input.dispatchEvent(new Event("input", { bubbles: true }));
    while (!document.querySelector(".matches").textContent.includes(" of "))
      await new Promise((done) => setTimeout(done));
    const took = Math.round(performance.now() - began);
    input.value = "";
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return took;
  });
  const heap = await page.evaluate(() => {
    window.gc();
    return (performance.memory.usedJSHeapSize / 1e6).toFixed(1);
  });
  const elements = await page.evaluate(() => document.querySelectorAll("*").length);
  console.log(
    JSON.stringify(
      {
        rows,
        ...times,
        "processor until then": processor,
        "frames while scrolling": frames,
        search: search,
        "heap in MB": Number(heap),
        elements,
      },
      null,
      1,
    ),
  );
});
