// The table of single calls: searchable, sortable, and with only the visible rows in the document.
//
// The grid has the focus, and `aria-activedescendant` names the current call, so scrolling never removes the element that
// has the focus. The current call and the call at the top of the window are kept by their ids: when calls come or go above
// them, both stay where they are.

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
  const words =
    text || status
      ? `${count(matches.length)} of ${countOf(calls.length, "call")}`
      : countOf(calls.length, "call");
  const [announced, announce] = useState("");
  // The result of a search and a change of the rows are announced once each.
  useEffect(() => {
    if (table.phase !== "reading") announce(`${words}${scope}`);
  }, [text, status, table.phase]);
  useEffect(() => {
    if (table.news) announce(newsWords(table.news));
  }, [table.news]);
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
        <p class="matches">${words}${scope}</p>
        <p class="visually-hidden announced" role="status">${announced}</p>
        <${CsvButton} view=${view} status=${status} />
      </header>
      <${Grid} calls=${matches} all=${calls} order=${order} onSort=${sortBy} view=${view} nameOf=${nameOf} onOpen=${onOpen} />
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
  if (phase === "failed") return ", then the read failed";
  if (!hasMore) return "";
  return ` (the newest ${isOfSeveral ? "of each agent, " : ""}${count(calls.length)}${total === null ? "" : ` of ${count(total)}`}; totals are of all)`;
}

/** @param {{ added: number, gone: number, all: number }} news */
function newsWords({ added, gone, all }) {
  const changes = [added > 0 ? countOf(added, "new call") : "", gone > 0 ? `${count(gone)} gone` : ""];
  return `${changes.filter(Boolean).join(", ")}; ${countOf(all, "call")} in all.`;
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
 * @param {Call[]} props.calls those that match, in order
 * @param {Call[]} props.all
 * @param {{ by: Column, descending: boolean }} props.order
 * @param {(by: Column) => void} props.onSort
 * @param {View} props.view
 * @param {(agent: string) => string} props.nameOf
 * @param {(call: Call) => void} props.onOpen
 */
function Grid({ calls, all, order, onSort, view, nameOf, onOpen }) {
  const grid = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [window, setWindow] = useState({ first: 0, rows: 30 });
  const [current, setCurrent] = useState(/** @type {string | null} */ (null));
  const at = useMemo(() => calls.findIndex(({ id }) => id === current), [calls, current]);
  /** What was shown before the next change. `top` is the first row in view. */
  const shownBefore = useRef({ calls, all, at: -1, top: 0, scrollTop: 0 });
  const measure = () => {
    const element = grid.current;
    if (element === null) return;
    const { scrollTop } = element;
    const top = Math.floor(scrollTop / ROW_HEIGHT);
    Object.assign(shownBefore.current, { top, scrollTop });
    const first = Math.max(0, top - MARGIN);
    const rows = Math.ceil(element.clientHeight / ROW_HEIGHT) + 2 * MARGIN;
    setWindow((before) => (before.first === first && before.rows === rows ? before : { first, rows }));
  };
  useLayoutEffect(() => {
    const before = shownBefore.current;
    const element = grid.current;
    shownBefore.current = { ...before, calls, all };
    // After a search or with another order, the table stays where it is. When rows change, the same calls stay in view.
    if (element !== null && before.all !== all) {
      const hasReader = document.activeElement === element || document.querySelector("dialog[open]") !== null;
      const isInUse = before.scrollTop > 0 || (current !== null && hasReader);
      const top = isInUse ? placeOf(before.calls, before.top, calls) : null;
      if (top !== null) element.scrollTop = before.scrollTop + (top - before.top) * ROW_HEIGHT;
      // When the current call is gone, the call after it becomes current.
      if (at === -1 && before.at !== -1 && !all.some(({ id }) => id === current))
        setCurrent(calls[placeOf(before.calls, before.at, calls) ?? calls.length - 1]?.id ?? null);
    }
    measure();
  }, [calls]);
  useLayoutEffect(() => {
    shownBefore.current.at = at;
  });
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
 * Where a call of a list is in another list; if it is gone, where the first call after it is. Null if all of them are gone.
 * @param {Call[]} before
 * @param {number} at
 * @param {Call[]} after
 */
function placeOf(before, at, after) {
  const places = new Map(after.map(({ id }, place) => [id, place]));
  for (const { id } of before.slice(at)) {
    const place = places.get(id);
    if (place !== undefined) return place;
  }
  return null;
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
