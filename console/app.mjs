// The page: what is chosen, what is read, and what is shown of it.

import { readAgents } from "./agents.mjs";
import { CallDrawer } from "./call.mjs";
import { Charts } from "./chart.mjs";
import { Controls, KeyForm } from "./controls.mjs";
import { forgetKey, getKey, setKey, takeKeyFromAddress } from "./key.mjs";
import { Loader, NOTHING } from "./loader.mjs";
import { Lists, Tiles } from "./panels.mjs";
import { StatusLine } from "./status.mjs";
import { CallTable } from "./table.mjs";
import { html } from "./ui.mjs";
import { useCallback, useEffect, useMemo, useState } from "./vendor/hooks.mjs";
import { viewFromAddress, viewIntoAddress } from "./view.mjs";

const QUERY_KEY_WORDS =
  "The key in the address was not used, because it may have been logged on the way. Enter it here, or put it after #key=, which browsers do not send.";
const REFUSED_WORDS = "The gateway does not accept this key.";

/** @typedef {import("./view.mjs").View} View */

/** @param {{ words: string }} props words about the key in the address */
export function App({ words }) {
  const [hasKey, setHasKey] = useState(getKey() !== null);
  const [keyWords, setKeyWords] = useState(words);
  const [view, setView] = useState(viewFromAddress);
  const forget = useCallback((/** @type {string} */ why) => {
    forgetKey();
    setHasKey(false);
    setKeyWords(why);
  }, []);
  useEffect(() => {
    // The address of an open page gets a key.
    const onHash = () => {
      const { tookKey, hadQueryKey } = takeKeyFromAddress();
      if (hadQueryKey) setKeyWords(QUERY_KEY_WORDS);
      if (tookKey) {
        setHasKey(false);
        queueMicrotask(() => setHasKey(true));
      }
      setView(viewFromAddress());
    };
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, []);
  const onKey = (/** @type {string} */ text) => {
    const isKey = setKey(text);
    if (isKey) {
      setKeyWords("");
      setHasKey(true);
    }
    return isKey;
  };
  const choose = useCallback((/** @type {View} */ next) => {
    viewIntoAddress(next);
    setView(next);
  }, []);
  if (!hasKey) return html`<${KeyForm} words=${keyWords} onKey=${onKey} />`;
  return html`<${Console} view=${view} onView=${choose} onForget=${forget} words=${keyWords} />`;
}

/** Takes the key out of the address; what is to be said about it. */
export function wordsOfAddress() {
  return takeKeyFromAddress().hadQueryKey ? QUERY_KEY_WORDS : "";
}

/**
 * @param {object} props
 * @param {View} props.view
 * @param {(view: View) => void} props.onView
 * @param {(why: string) => void} props.onForget
 * @param {string} props.words
 */
function Console({ view, onView, onForget, words }) {
  const [agents, setAgents] = useState({
    list: /** @type {any[]} */ ([]),
    problem: /** @type {any} */ (null),
    isLoaded: false,
  });
  const [state, setState] = useState(NOTHING);
  const [open, setOpen] = useState(/** @type {import("./rows.mjs").Call | null} */ (null));
  const [isTable, setTable] = useState(false);
  const loader = useMemo(() => new Loader(setState), []);

  useEffect(() => {
    const abort = new AbortController();
    readAgents(abort.signal).then(setAgents, () => {});
    return () => abort.abort();
  }, []);
  const first = agents.list[0]?.id;
  useEffect(() => {
    if (agents.isLoaded && view.agents.length === 0 && first !== undefined)
      onView({ ...view, agents: [first] });
  }, [agents, first, view]);
  useEffect(() => {
    // The agents' ages say how many days there are, so they are waited for.
    if (agents.isLoaded && view.agents.length > 0) loader.show(view, agents.list);
  }, [view, agents]);
  useEffect(() => () => loader.stop(), []);
  const isRefused = state.problem?.status === 401 || agents.problem?.status === 401;
  useEffect(() => {
    if (isRefused) onForget(REFUSED_WORDS);
  }, [isRefused]);
  useShortcuts({ onRefresh: () => loader.refresh(), onToggle: () => setTable((is) => !is) });

  const { totals, table } = state;
  const nameOf = useCallback(
    (/** @type {string} */ id) => agents.list.find((agent) => agent.id === id)?.name ?? id,
    [agents],
  );
  // The drawer stays on its call, and follows it while it changes. A call that is gone is shown as it was.
  const openId = open?.id;
  const opened = useMemo(
    () => (openId === undefined ? null : (table?.calls.find(({ id }) => id === openId) ?? open)),
    [table?.calls, openId],
  );
  const isEmpty = totals !== null && Number(totals.daily.total) === 0;
  const hasTable = table !== null && !isEmpty && (table.calls.length > 0 || table.phase !== "failed");
  // The same elements as long as nothing changed: they are large, and rows arrive often.
  const controls = useMemo(
    () =>
      html`<${Controls} agents=${agents} view=${view} onView=${onView} onRefresh=${() => loader.refresh()} onForget=${() => onForget("")} />`,
    [agents, view, onView, onForget],
  );
  const panels = useMemo(
    () =>
      totals &&
      !isEmpty &&
      html`
        <${Charts} totals=${totals} isTable=${isTable} onToggle=${() => setTable((is) => !is)} />
        <${Lists} totals=${totals} />
      `,
    [totals, isEmpty, isTable],
  );
  return html`
    ${hasTable && html`<a class="skip" href="#calls" onClick=${focusTable}>Skip to the table of calls</a>`}
    ${controls}
    <main>
      ${words && html`<p class="problem" role="alert">${words}</p>`}
      ${
        view.agents.length === 0
          ? html`<p class="note" role="status">${agents.isLoaded ? "Choose an agent." : "Reading the list of agents…"}</p>`
          : html`
            <${StatusLine} state=${state} zone=${view.zone} nameOf=${nameOf} onRetry=${() => loader.refresh()} />
            ${totals === null && table !== null && html`<${Progress} table=${table} />`}
            <${Tiles} summary=${totals?.daily ?? null} isFailed=${state.problem !== null} />
            ${panels}
            ${
              hasTable &&
              html`<${CallTable} table=${table} total=${totals ? Number(totals.daily.total) : null} view=${view} nameOf=${nameOf} onOpen=${setOpen} />`
            }
          `
      }
    </main>
    <footer><a href="../docs">API documentation</a> ${state.gateway?.version && html`<span>fanfold ${state.gateway.version}</span>`} <span>Keys: r refresh, / search, t charts as tables</span></footer>
    ${opened && html`<${CallDrawer} call=${opened} zone=${view.zone} agentName=${nameOf(opened.agent)} onClose=${() => setOpen(null)} />`}
  `;
}

/** How far the reading of rows has come. @param {{ table: import("./loader.mjs").Table }} props */
function Progress({ table }) {
  const last = table.calls.at(-1);
  const words =
    last === undefined
      ? ""
      : `${table.calls.length.toLocaleString("en")} calls so far, back to ${last.created.slice(0, 10)}.`;
  return html`<p class="note">${words}</p>`;
}

/** @param {Event} event */
function focusTable(event) {
  event.preventDefault();
  document.getElementById("calls")?.focus();
}

/** @param {{ onRefresh: () => void, onToggle: () => void }} actions */
function useShortcuts({ onRefresh, onToggle }) {
  useEffect(() => {
    const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog"))
        return;
      if (event.key === "r") onRefresh();
      else if (event.key === "t") onToggle();
      else if (event.key === "/") document.getElementById("search")?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
}
