// Debian's Chromium, driven by playwright-core, and what every page of the console is held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../target/console/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** What a page may ask for without an answer of 2xx being worth a word. */
const NETWORK_NOISE = /Failed to load resource/;

/**
 * Runs a scenario on a new page and then checks what holds for all pages: no report of the content security policy, no
 * error, no request to elsewhere, and no key in any URL or referrer.
 */
export async function withPage({ url, key, browserOptions = {} }, scenario) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    timeout: 120_000,
    args: ["--no-sandbox", "--js-flags=--expose-gc", "--enable-precise-memory-info"],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...browserOptions });
  const seen = { requests: [], responses: [], faults: [] };
  await context.exposeBinding("reportViolation", (_source, text) => seen.faults.push(`policy: ${text}`));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      window.reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  if (process.env.CONSOLE_FILES === "disk") await page.route(`${url}/console/**`, fromDisk);
  page.on("pageerror", (error) => seen.faults.push(`error: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !NETWORK_NOISE.test(message.text()))
      seen.faults.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => seen.requests.push(request));
  page.on("response", (response) => seen.responses.push(response));
  page.setDefaultTimeout(60_000);
  try {
    await scenario(page, seen);
    for (const request of seen.requests) {
      assert.ok(
        request.url().startsWith(url) || request.url().startsWith("blob:"),
        `a request to elsewhere: ${request.url()}`,
      );
      assert.ok(
        !key || !decodeURIComponent(request.url()).includes(key) || request.isNavigationRequest(),
        request.url(),
      );
      assert.ok(!request.headers().referer, `a referrer for ${request.url()}`);
    }
    assert.deepEqual(seen.faults, []);
  } catch (error) {
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/failed.png` });
    error.message += `\nthe page says: ${await page
      .locator("body")
      .innerText()
      .catch(() => "?")}`.slice(0, 1_500);
    throw error;
  } finally {
    await browser.close();
  }
}

/** The page's files of the working tree, so that a change can be tried without building the program. */
async function fromDisk(route) {
  const response = await route.fetch();
  const name = new URL(route.request().url()).pathname.split("/console/")[1] || "index.html";
  await route.fulfill({ response, path: new URL(`../../console/${name}`, import.meta.url).pathname });
}

/** No violation of any rule that axe-core knows, experimental and best practices included. */
export async function accessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`,
  );
  assert.deepEqual(told, [], what);
}

/** Nothing sticks out of the page at the right. */
export async function fitsWidth(page) {
  const { scroll, client } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    client: document.documentElement.clientWidth,
  }));
  assert.ok(scroll <= client, `the page is ${scroll} wide in a window of ${client}`);
}

/** The state in words, once it is this one. */
export async function inState(page, kind) {
  try {
    await page.locator(`.status.${kind}`).waitFor();
  } catch (error) {
    const shown = await page.locator(".status").innerText();
    throw new Error(`the page is not ${kind} but says: ${shown}`, { cause: error });
  }
  return page.locator(".status").innerText();
}

export async function picture(page, name, options = {}) {
  if (process.env.SCREENSHOTS)
    await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, ...options });
}

/** The console's address with a key. */
export const withKey = (url, key, more = "") => `${url}/console/#key=${encodeURIComponent(key)}${more}`;

/** The number in a text such as "1,234 calls". */
export const numberIn = (text) => Number(text.replaceAll(",", "").match(/\d+(\.\d+)?/)?.[0]);

/** A response of the gateway, as JSON. */
export async function ask(url, key, path) {
  const response = await fetch(`${url}/${path}`, { headers: { Authorization: `Bearer ${key}` } });
  assert.equal(response.status, 200, path);
  return response.json();
}
