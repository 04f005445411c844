// Preact with tagged templates instead of JSX, so that nothing has to be compiled. Text always becomes text nodes:
// no part of this page sets `innerHTML`, and the page's policy forbids it.

import htm from "./vendor/htm.mjs";
import { h } from "./vendor/preact.mjs";
import { useEffect, useState } from "./vendor/hooks.mjs";

/** @typedef {import("./vendor/preact.mjs").VNode<any>} VNode */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => VNode} */
export const html = /** @type {any} */ (htm.bind(/** @type {any} */ (h)));

/** The current `performance.now()`, renewed every second. */
export function useSeconds() {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
