// The table of single calls: searchable, sortable, and with only the visible rows in the document.
//
// The grid has the focus, and `aria-activedescendant` names the current call, so scrolling never removes the element that
// has the focus. The current call is kept by its id: it stays current when new calls arrive above it.

import { downloadCsv } from "./csv.mjs";
import { select } from "./rows.mjs";
import { html } from "./ui.mjs";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
import { hasSeveralAgents } from "./view.mjs";
import { callLength, clock, count, countOf, preciseDollars } from "./words.mjs";

/**
 * @typedef {import("./rows.mjs").Call} Call
 * @typedef {import("./rows.mjs").Column} Column
 * @typedef {import("./view.mjs").View} View
 */

/** Pixels; the style sheet has the same number. */
const ROW_HEIGHT = 34;
/** Rows drawn above and below what is visible. */
const MARGIN = 8;

/**
 * @param {object} props
 * @param {import("./loader.mjs").Table} props.table
 * @param {number | null} props.total calls in the whole range
 * @param {View} props.view
 * @param {(agent: string) => string} props.nameOf
 * @param {(call: Call) => void} props.onOpen
 */
export function CallTable({ table, total, view, nameOf, onOpen }) {
  const [text, setText] = useState("");
  const [status, setStatus] = useState("");
  const [order, setOrder] = useState({ by: /** @type {Column} */ ("at"), descending: true });
  const { calls } = table;
  const matches = useMemo(() => select(calls, { text, status, ...order }), [calls, text, status, order]);
  const statuses = useMemo(() => [...new Set(calls.map((call) => call.status))].sort(), [calls]);
  const sortBy = (/** @type {Column} */ by) =>
    setOrder({ by, descending: by === order.by ? !order.descending : by === "at" });
  const scope = scopeWords(table, total, hasSeveralAgents(view));
  return html`
    <section class="calls" aria-labelledby="calls-title">
      <header>
        <h2 id="calls-title">Calls</h2>
        <label>Search <input id="search" type="search" value=${text} placeholder="number, id, reason" onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
        <label>
          Status
          <select value=${status} onChange=${(/** @type {any} */ event) => setStatus(event.target.value)}>
            <option value="">all</option>
            ${statuses.map((name) => html`<option key=${name} value=${name}>${name || "(none)"}</option>`)}
          </select>
        </label>
        <p class="matches" role="status" aria-live=${table.phase === "reading" ? "off" : "polite"}>${text || status ? `${count(matches.length)} of ${countOf(calls.length, "call")}` : countOf(calls.length, "call")}${scope}</p>
        <${CsvButton} view=${view} status=${status} />
      </header>
      <${Grid} calls=${matches} order=${order} onSort=${sortBy} view=${view} nameOf=${nameOf} onOpen=${onOpen} />
    </section>
  `;
}

/**
 * What the table leaves out.
 * @param {import("./loader.mjs").Table} table
 * @param {number | null} total
 * @param {boolean} isOfSeveral
 */
function scopeWords({ phase, hasMore, calls }, total, isOfSeveral) {
  if (phase === "reading") return ", reading…";
  if (phase === "failed") return ", then the reading failed";
  if (!hasMore) return "";
  return ` (the newest ${isOfSeveral ? "of each agent, " : ""}${count(calls.length)}${total === null ? "" : ` of ${count(total)}`}; totals are of all)`;
}

/** @param {{ view: View, status: string }} props */
function CsvButton({ view, status }) {
  const [state, setState] = useState({ isBusy: false, words: "" });
  const download = async () => {
    setState({ isBusy: true, words: "Preparing the file…" });
    try {
      const rows = await downloadCsv(view, status);
      setState({ isBusy: false, words: `Saved ${countOf(rows, "call")}.` });
    } catch (error) {
      setState({ isBusy: false, words: `No file: ${error instanceof Error ? error.message : error}` });
    }
  };
  const what = status ? `with the status ${status} ` : "";
  return html`
    <button type="button" disabled=${state.isBusy} onClick=${download} title="All calls ${what}in the range; the search is not applied">Download CSV</button>
    <span class="note" role="status">${state.words}</span>
  `;
}

/**
 * @param {object} props
 * @param {Call[]} props.calls
 * @param {{ by: Column, descending: boolean }} props.order
 * @param {(by: Column) => void} props.onSort
 * @param {View} props.view
 * @param {(agent: string) => string} props.nameOf
 * @param {(call: Call) => void} props.onOpen
 */
function Grid({ calls, order, onSort, view, nameOf, onOpen }) {
  const grid = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [window, setWindow] = useState({ first: 0, rows: 30 });
  const [current, setCurrent] = useState(/** @type {string | null} */ (null));
  const at = useMemo(() => calls.findIndex(({ id }) => id === current), [calls, current]);
  const anchor = useRef({ id: "", at: 0 });
  const measure = () => {
    const element = grid.current;
    if (element === null) return;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW_HEIGHT) - MARGIN);
    const rows = Math.ceil(element.clientHeight / ROW_HEIGHT) + 2 * MARGIN;
    const top = Math.floor(element.scrollTop / ROW_HEIGHT);
    anchor.current = { id: calls[top]?.id ?? "", at: top };
    setWindow((before) => (before.first === first && before.rows === rows ? before : { first, rows }));
  };
  // New calls come in at the top: whoever has scrolled keeps seeing the same calls.
  useLayoutEffect(() => {
    const element = grid.current;
    if (element === null) return;
    const { id, at: before } = anchor.current;
    if (element.scrollTop > 0 && id !== "") {
      const now = calls.findIndex((call) => call.id === id);
      if (now > before) element.scrollTop += (now - before) * ROW_HEIGHT;
    }
    measure();
  }, [calls]);
  useEffect(() => {
    const resized = new ResizeObserver(measure);
    if (grid.current) resized.observe(grid.current);
    return () => resized.disconnect();
  }, [calls]);

  const moveTo = (/** @type {number} */ to) => {
    const element = grid.current;
    const next = Math.max(0, Math.min(calls.length - 1, to));
    setCurrent(calls[next]?.id ?? null);
    if (element === null) return;
    const top = next * ROW_HEIGHT;
    // The header covers the first row's height.
    const visible = element.clientHeight - ROW_HEIGHT;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW_HEIGHT > element.scrollTop + visible) element.scrollTop = top + ROW_HEIGHT - visible;
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const page = Math.max(1, Math.floor((grid.current?.clientHeight ?? 0) / ROW_HEIGHT) - 2);
    /** @type {Record<string, number>} */
    const targets = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: calls.length - 1,
    };
    const target = targets[event.key];
    const call = calls[at];
    if (event.target !== grid.current) return;
    if (target !== undefined && calls.length > 0) moveTo(target);
    else if (event.key === "Enter" && call) onOpen(call);
    else return;
    event.preventDefault();
  };
  const columns = useMemo(() => columnsOf(view, nameOf), [view, nameOf]);
  const shown = calls.slice(window.first, window.first + window.rows);
  const isShown = at >= window.first && at < window.first + shown.length;
  return html`
    <div
      id="calls"
      class="grid ${hasSeveralAgents(view) ? "with-agent" : ""}"
      role="grid"
      tabindex="0"
      ref=${grid}
      aria-label="Calls; arrow keys move, Enter opens"
      aria-rowcount=${calls.length + 1}
      aria-colcount=${columns.length}
      aria-activedescendant=${isShown ? `call-${at}` : undefined}
      onScroll=${measure}
      onKeyDown=${onKeyDown}
    >
      <div role="row" aria-rowindex="1" class="row head">
        ${columns.map(
          ({ by, label, style }) => html`
            <div role="columnheader" class=${style} aria-sort=${by === order.by ? (order.descending ? "descending" : "ascending") : "none"}>
              <button type="button" onClick=${() => onSort(by)}>${label}${by === order.by && html`<span aria-hidden="true">${order.descending ? " ↓" : " ↑"}</span>`}</button>
            </div>
          `,
        )}
      </div>
      <div role="rowgroup" class="body" style=${{ height: `${Math.max(1, calls.length) * ROW_HEIGHT}px` }}>
        ${calls.length === 0 && html`<div role="row" aria-rowindex="2" class="row none"><div role="gridcell">No call matches.</div></div>`}
        ${shown.map((call, offset) => {
          const index = window.first + offset;
          return html`
            <div
              role="row"
              key=${call.id}
              id="call-${index}"
              class="row ${call.id === current ? "current" : ""}"
              aria-rowindex=${index + 2}
              aria-selected=${call.id === current}
              style=${{ transform: `translateY(${index * ROW_HEIGHT}px)` }}
              onClick=${() => {
                setCurrent(call.id);
                onOpen(call);
              }}
            >
              ${columns.map(({ style, value }) => html`<div role="gridcell" class=${style}>${value(call)}</div>`)}
            </div>
          `;
        })}
      </div>
    </div>
  `;
}

/**
 * @param {View} view
 * @param {(agent: string) => string} nameOf
 * @returns {{ by: Column, label: string, style: string, value: (call: Call) => string }[]}
 */
function columnsOf(view, nameOf) {
  const time = clock(view.zone);
  const hasAgents = hasSeveralAgents(view);
  return [
    { by: "at", label: "Created", style: "at", value: ({ at, created }) => time(at) || created },
    { by: "status", label: "Status", style: "status-cell", value: ({ status }) => status },
    { by: "seconds", label: "Length", style: "number", value: ({ seconds }) => callLength(seconds) },
    { by: "cents", label: "Cost", style: "number", value: ({ cents }) => preciseDollars(cents) },
    { by: "number", label: "Number", style: "wide", value: ({ number }) => number },
    { by: "reason", label: "Hang-up reason", style: "wide", value: ({ reason }) => reason },
    ...(hasAgents
      ? [
          {
            by: /** @type {Column} */ ("agent"),
            label: "Agent",
            style: "wide",
            value: (/** @type {Call} */ { agent }) => nameOf(agent),
          },
        ]
      : []),
  ];
}
