// The controls above everything: agent, range, time zone, refresh, and the key.

import { AgentPicker } from "./agents.mjs";
import { today, zones } from "./days.mjs";
import { html } from "./ui.mjs";
import { useMemo, useState } from "./vendor/hooks.mjs";
import { RANGES, daysOf } from "./view.mjs";

/**
 * @param {object} props
 * @param {import("./agents.mjs").Agents} props.agents
 * @param {import("./view.mjs").View} props.view
 * @param {(view: import("./view.mjs").View) => void} props.onView
 * @param {() => void} props.onRefresh
 * @param {() => void} props.onForget
 */
export function Controls({ agents, view, onView, onRefresh, onForget }) {
  const names = useMemo(() => zones(), []);
  const change = (/** @type {Partial<import("./view.mjs").View>} */ changed) =>
    onView({ ...view, ...changed });
  const onRange = (/** @type {any} */ event) => {
    const { first, last } = daysOf(view);
    // Dates begin with those that are shown.
    change({ range: event.target.value, from: first ?? "", to: last });
  };
  const end = today(view.zone);
  return html`
    <header class="controls">
      <h1>fanfold</h1>
      <${AgentPicker} agents=${agents} chosen=${view.agents} onChoose=${(/** @type {string[]} */ ids) => change({ agents: ids })} />
      <label>
        Range
        <select value=${view.range} onChange=${onRange}>
          ${RANGES.map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}
        </select>
      </label>
      ${
        view.range === "dates" &&
        html`
        <label>From <input type="date" min="2020-01-01" max=${view.to || end} value=${view.from} onChange=${(/** @type {any} */ event) => change({ from: event.target.value })} /></label>
        <label>To <input type="date" min=${view.from} max=${end} value=${view.to} onChange=${(/** @type {any} */ event) => change({ to: event.target.value })} /></label>
      `
      }
      <label class="zone">
        Time zone
        <select value=${view.zone} onChange=${(/** @type {any} */ event) => change({ zone: event.target.value })}>
          ${(names.includes(view.zone) ? names : [view.zone, ...names]).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
      </label>
      <div class="buttons">
        <button type="button" onClick=${onRefresh} aria-keyshortcuts="r">Refresh</button>
        <button type="button" onClick=${onForget}>Forget key</button>
      </div>
    </header>
  `;
}

/**
 * Asks for the key.
 * @param {{ words: string, onKey: (text: string) => boolean }} props
 */
export function KeyForm({ words, onKey }) {
  const [text, setText] = useState("");
  const [isRefused, setRefused] = useState(false);
  const onSubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setRefused(!onKey(text));
  };
  return html`
    <main class="welcome">
      <h1>fanfold</h1>
      <p>Every call of your agents: totals, charts, and each call in full.</p>
      ${words && html`<p class="problem" role="alert">${words}</p>`}
      <form onSubmit=${onSubmit}>
        <label for="key">Key</label>
        <input id="key" type="password" autocomplete="off" spellcheck=${false} autofocus value=${text}
          aria-describedby="key-help" onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
        <button type="submit" class="main">Show calls</button>
      </form>
      ${isRefused && html`<p class="problem" role="alert">This can't be a key: a key has no spaces and only ASCII characters.</p>`}
      <p id="key-help" class="note">
        Your Bolna API key. If the gateway holds the key, enter a token that the operator of the gateway gave you. The key is kept
        in this tab only, is sent to this gateway only, and is forgotten when you close the tab.
      </p>
    </main>
  `;
}
