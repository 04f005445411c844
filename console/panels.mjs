// Tiles, and lists of parts with bars.

import { lengths, failures, hangupReasons, tiles } from "./totals.mjs";
import { html } from "./ui.mjs";
import { count, dollars, preciseDollars, share, talkTime } from "./words.mjs";

const TOO_MANY = "There are too many different reasons. Choose a shorter range.";

/** The most lines of a list; the rest is counted in words. */
const MOST_LINES = 10;

/** @param {{ summary: import("./totals.mjs").Summary | null, isFailed: boolean }} props */
export function Tiles({ summary, isFailed }) {
  const values = summary && tiles(summary);
  const shown = [
    ["Calls", values && count(values.calls), ""],
    [
      "Connected",
      values && share(values.connected, values.calls),
      values && `${count(values.connected)} calls`,
    ],
    ["Cost", values && dollars(values.cost), ""],
    [
      "Per connected minute",
      values && (values.centsPerMinute === null ? "–" : preciseDollars(values.centsPerMinute)),
      "",
    ],
    ["Talk time", values && talkTime(values.seconds), ""],
    ["Under way", values && count(values.underWay), ""],
  ];
  const instead = isFailed
    ? "–"
    : html`<span class="skeleton"></span><span class="visually-hidden">loading</span>`;
  return html`
    <dl class="tiles" aria-label="Totals">
      ${shown.map(
        ([name, value, more]) => html`
          <div class="tile">
            <dt>${name}</dt>
            <dd>${value ?? instead}${more && html` <small>${more}</small>`}</dd>
          </div>
        `,
      )}
    </dl>
  `;
}

/** @param {{ totals: import("./loader.mjs").Totals }} props */
export function Lists({ totals }) {
  const { reasons } = totals;
  return html`
    <div class="panels three">
      <${Bars} title="Length of conversation" parts=${lengths(totals.daily)} most=${20} />
      <${Bars} title="Hang-up reasons" parts=${reasons ? hangupReasons(reasons) : []} none=${reasons ? undefined : TOO_MANY} />
      <${Bars} title="Failures" parts=${reasons ? failures(reasons) : []} none=${reasons ? "No call failed." : TOO_MANY} />
    </div>
  `;
}

/**
 * @param {{ title: string, parts: import("./totals.mjs").Part[], most?: number, none?: string }} props
 */
function Bars({ title, parts, most = MOST_LINES, none = "No calls." }) {
  const shown = parts.slice(0, most);
  const rest = parts.slice(most);
  const largest = shown.reduce((max, { count }) => Math.max(max, count), 1);
  const restCount = rest.reduce((all, { count }) => all + count, 0);
  return html`
    <section class="panel">
      <table class="bars">
        <caption>${title}</caption>
        <colgroup><col class="what" /><col /><col class="number" /></colgroup>
        <thead class="visually-hidden"><tr><th scope="col">${title}</th><th scope="col">Share</th><th scope="col">Calls</th></tr></thead>
        <tbody>
          ${shown.map(
            (part) => html`
              <tr key=${part.label}>
                <th scope="row" title=${part.label}>${part.label}</th>
                <td class="bar"><progress value=${part.count} max=${largest} aria-hidden="true"></progress></td>
                <td class="number">${count(part.count)}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
      ${parts.length === 0 && html`<p class="note">${none}</p>`}
      ${
        rest.length > 0 &&
        html`<p class="note">The ${count(most)} most frequent of ${count(parts.length)}; the others have ${count(restCount)} calls.</p>`
      }
    </section>
  `;
}
