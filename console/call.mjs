// One call in full: facts, transcript, latencies, recording, and the row as upstream wrote it.
//
// It is requested by its time of creation, so it comes from the same cache as the table, with any kind of key.

import { Problem, get, lines } from "./api.mjs";
import { html } from "./ui.mjs";
import { useEffect, useRef, useState } from "./vendor/hooks.mjs";
import { callLength, clock, instantOf, preciseDollars, textOf, webLink } from "./words.mjs";

/** Labels before what somebody said. */
const SPEAKER = /^(assistant|user|agent|bot|human|system|customer)\s*:\s*/i;
/** The most latencies that are listed. */
const MOST_LATENCIES = 24;

/**
 * @param {object} props
 * @param {import("./rows.mjs").Call} props.call
 * @param {string} props.zone
 * @param {string} props.agentName
 * @param {() => void} props.onClose
 */
export function CallDrawer({ call, zone, agentName, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  const { id, status, seconds, cents, reason } = call;
  useEffect(() => setText(null), [id]);
  // A call that goes on is read again; until then, what was read before stays.
  useEffect(() => {
    const abort = new AbortController();
    setProblem(null);
    readRow(call, abort.signal).then(setText, (error) => {
      if (error instanceof Problem) setProblem(error);
    });
    return () => abort.abort();
  }, [id, status, seconds, cents, reason]);
  const row = text === null ? null : JSON.parse(text);
  return html`
    <dialog class="drawer" ref=${dialog} aria-labelledby="drawer-title" onClose=${onClose}
      onClick=${(/** @type {any} */ event) => event.target === dialog.current && dialog.current?.close()}>
      <div class="sheet">
        <header>
          <h2 id="drawer-title">Call of ${clock(zone)(call.at) || call.created}</h2>
          <button type="button" onClick=${() => dialog.current?.close()}>Close</button>
        </header>
        <${Facts} call=${call} row=${row} zone=${zone} agentName=${agentName} />
        ${problem && html`<p class="problem" role="alert">The full call can't be read: ${problem.message} ${problem.requestId && html`<code>${problem.requestId}</code>`}</p>`}
        ${row === null && problem === null && html`<p class="note" role="status">Reading the full call…</p>`}
        ${row !== null && html`<${Transcript} text=${textOf(row.transcript)} /><${Latencies} data=${row.latency_data} /><${RawRow} text=${text ?? ""} />`}
      </div>
    </dialog>
  `;
}

/**
 * The row as upstream wrote it.
 * @param {import("./rows.mjs").Call} call
 * @param {AbortSignal} signal
 */
async function readRow(call, signal) {
  const query = new URLSearchParams({ format: "ndjson" });
  // A row without a readable date is only found among all.
  if (!Number.isNaN(call.at)) {
    query.set("from", utc(call.created));
    query.set("to", utc(call.created));
  }
  const response = await get(`agents/${call.agent}/executions/all?${query}`, { signal });
  for await (const some of lines(response)) {
    const found = some.find((line) => JSON.parse(line).id === call.id);
    if (found !== undefined) return found;
  }
  throw new Problem("it is no longer there.");
}

/** @param {string} created */
function utc(created) {
  return /(z|[+-]\d\d:?\d\d)$/i.test(created) ? created : `${created}Z`;
}

/** @param {{ call: import("./rows.mjs").Call, row: any, zone: string, agentName: string }} props */
function Facts({ call, row, zone, agentName }) {
  const at = clock(zone);
  const telephony = row?.telephony_data ?? {};
  const recording = webLink(telephony.recording_url);
  const facts = [
    ["Status", call.status],
    ["Length", callLength(call.seconds)],
    ["Cost", preciseDollars(call.cents)],
    ["Agent", agentName],
    ["Direction", textOf(telephony.call_type)],
    ["From", textOf(telephony.from_number)],
    ["To", textOf(telephony.to_number) || call.number],
    ["Provider", textOf(telephony.provider) || textOf(row?.provider)],
    ["Hang-up", [textOf(telephony.hangup_by), call.reason].filter(Boolean).join(": ")],
    ["Updated", at(instantOf(row?.updated_at))],
    ["Error", textOf(row?.error_message)],
    ["Summary", textOf(row?.summary)],
    ["Batch", textOf(row?.batch_id)],
    ["Id", call.id],
  ];
  return html`
    <dl class="facts">
      ${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
      ${recording && html`<div><dt>Recording</dt><dd><a href=${recording} target="_blank" rel="noopener noreferrer">Open in a new tab</a></dd></div>`}
    </dl>
  `;
}

/** @param {{ text: string }} props */
function Transcript({ text }) {
  if (text === "") return null;
  return html`
    <h3>Transcript</h3>
    <ol class="turns">
      ${turns(text).map(
        ({ who, said }) =>
          html`<li class=${who === "user" || who === "human" || who === "customer" ? "caller" : "agent"}><b>${who || "—"}</b> ${said}</li>`,
      )}
    </ol>
  `;
}

/**
 * Splits a transcript at the labels of who speaks; a line without one belongs to the turn before it.
 * @param {string} text
 */
export function turns(text) {
  /** @type {{ who: string, said: string }[]} */
  const found = [];
  for (const line of text.split("\n")) {
    const who = SPEAKER.exec(line)?.[1]?.toLowerCase();
    const last = found.at(-1);
    if (who !== undefined || last === undefined)
      found.push({ who: who ?? "", said: line.replace(SPEAKER, "") });
    else last.said += `\n${line}`;
  }
  return found;
}

/** @param {{ data: unknown }} props */
function Latencies({ data }) {
  const found = numbersIn(data);
  if (found.length === 0) return null;
  const shown = found.slice(0, MOST_LATENCIES);
  return html`
    <h3>Latencies</h3>
    <table class="figures">
      <caption class="visually-hidden">Latencies, in upstream's units</caption>
      <tbody>${shown.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody>
    </table>
    ${found.length > shown.length && html`<p class="note">${found.length - shown.length} more are in the raw row.</p>`}
  `;
}

/**
 * Numbers of nested objects, each with its path. Lists, which have one entry per turn, are left to the raw row.
 * @param {unknown} data
 * @param {string} path
 * @returns {[string, number][]}
 */
function numbersIn(data, path = "") {
  if (typeof data === "number") return [[path, data]];
  if (data === null || typeof data !== "object" || Array.isArray(data)) return [];
  return Object.entries(data).flatMap(([name, value]) =>
    numbersIn(value, path === "" ? name : `${path}.${name}`),
  );
}

/** @param {{ text: string }} props */
function RawRow({ text }) {
  const [isCopied, setCopied] = useState(false);
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  return html`
    <details>
      <summary>Row as upstream wrote it</summary>
      ${navigator.clipboard && html`<p><button type="button" onClick=${copy}>Copy</button> <span role="status">${isCopied && "Copied."}</span></p>`}
      <pre tabindex="0">${text}</pre>
    </details>
  `;
}
