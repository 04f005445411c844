// The line that always says what is shown: whether it is complete, as of when, from where, and what budget is left.

import { missingOf } from "./totals.mjs";
import { html, useSeconds } from "./ui.mjs";
import { ago, clock, count, countOf, instantOf, sentence } from "./words.mjs";

/**
 * @typedef {import("./loader.mjs").State} State
 * @typedef {"loading" | "complete" | "partial" | "stale" | "limited" | "forbidden" | "empty" | "error"} Kind
 * @typedef {{ kind: Kind, title: string, text: string, requestId?: string | null }} Condition
 */

const MARKS = {
  loading: "◌",
  complete: "●",
  partial: "◐",
  stale: "◑",
  limited: "‖",
  forbidden: "■",
  empty: "○",
  error: "✕",
};

/**
 * What state the page is in.
 * @param {State} state
 * @returns {Condition}
 */
export function conditionOf(state) {
  const { totals, problem, origin, table } = state;
  if (problem !== null) return failed(problem, totals !== null);
  if (totals === null) return { kind: "loading", title: "Loading", text: "Reading executions." };
  if (!totals.daily.complete || totals.reasons?.complete === false || (table?.missing.length ?? 0) > 0) {
    return {
      kind: "partial",
      title: "Incomplete",
      text: "Part of the range could not be read and is not counted.",
    };
  }
  if (table?.problem) {
    const { message, requestId } = table.problem;
    if (table.phase === "done") {
      const text = `The totals are current, but the table shows the calls of an earlier read: ${message}`;
      return { kind: "stale", title: "Table out of date", text, requestId };
    }
    const text = `The totals are complete, but the table is not: ${message}`;
    return { kind: "partial", title: "Table incomplete", text, requestId };
  }
  if (origin?.isStale)
    return { kind: "stale", title: "Out of date", text: `What is shown is ${origin.words}.` };
  if (Number(totals.daily.total) === 0) {
    return {
      kind: "empty",
      title: "Complete",
      text: "There are no calls in this range. Choose a wider one.",
    };
  }
  return { kind: "complete", title: "Complete", text: "" };
}

/**
 * @param {import("./api.mjs").Problem} problem
 * @param {boolean} hasTotals
 * @returns {Condition}
 */
function failed(problem, hasTotals) {
  const { requestId, message } = problem;
  if (hasTotals) {
    const text = `This is the last known state. Refreshing it failed: ${message}`;
    return { kind: "stale", title: "Out of date", text, requestId };
  }
  if (problem.code === "not_ready") {
    return {
      kind: "loading",
      title: "Still loading",
      text: "Reading continues, and what has been read so far is kept.",
      requestId,
    };
  }
  if (problem.status === 429)
    return { kind: "limited", title: "Waiting for the rate limit", text: message, requestId };
  if (problem.status === 403) return { kind: "forbidden", title: "Not allowed", text: message, requestId };
  return { kind: "error", title: "Failed", text: message, requestId };
}

/**
 * @param {{ state: State, zone: string, nameOf: (agent: string) => string, onRetry: () => void }} props
 */
export function StatusLine({ state, zone, nameOf, onRetry }) {
  const now = useSeconds();
  const condition = conditionOf(state);
  const { totals, origin, gateway, retryAt, isBusy } = state;
  const budget = gateway?.budget;
  const missing = totals ? missingOf(totals.daily) : [];
  return html`
    <section class="status ${condition.kind}" aria-label="State of what is shown">
      <p class="line">
        <strong class="state"><span aria-hidden="true">${MARKS[condition.kind]} </span>${condition.title}</strong>
        ${totals && html`<span>${countOf(Number(totals.daily.total), "call")}</span>`}
        ${origin && html`<span>as of <b>${ago((now - origin.at) / 1_000)}</b> ago, ${origin.words}</span>`}
        ${budget && html`<span>${budgetWords(budget, zone)}</span>`}
        ${(gateway?.ttl_stretch ?? 1) > 1 && html`<span>refreshed ${gateway?.ttl_stretch} times less often, to save budget</span>`}
        ${gateway?.upstream === "down" && html`<span>upstream is down</span>`}
        ${isBusy && html`<span class="busy">reading…</span>`}
      </p>
      ${condition.text && html`<p>${sentence(condition.text)}</p>`}
      ${missing.length > 0 && html`<${MissingParts} missing=${missing} zone=${zone} nameOf=${nameOf} />`}
      ${condition.requestId && html`<p class="small">Request id: <code>${condition.requestId}</code></p>`}
      ${
        retryAt !== null &&
        html`<p>
        ${retryAt > now ? `Trying again in ${ago((retryAt - now) / 1_000)}. ` : "Trying again. "}
        <button type="button" onClick=${onRetry}>Try now</button>
      </p>`
      }
      ${retryAt === null && !isBusy && (state.problem ?? state.table?.problem) && html`<p><button type="button" onClick=${onRetry}>Try again</button></p>`}
      <p class="visually-hidden" role="status">${condition.title}. ${sentence(condition.text)}</p>
    </section>
  `;
}

/**
 * @param {import("./loader.mjs").Budget} budget
 * @param {string} zone
 */
function budgetWords({ limit, left, paused_until }, zone) {
  if (paused_until !== null)
    return `upstream's limit is reached; reading continues at ${clock(zone)(instantOf(paused_until)).slice(11)}`;
  if (limit === null || left === null) return "no request limit";
  return html`budget: <b>${count(left)}</b> of ${count(limit)} requests left`;
}

/** @param {{ missing: ReturnType<typeof missingOf>, zone: string, nameOf: (agent: string) => string }} props */
function MissingParts({ missing, zone, nameOf }) {
  const at = clock(zone);
  const shown = missing.slice(0, 5);
  return html`
    <ul class="missing">
      ${shown.map(
        ({ agent, from, to, code, detail }) =>
          html`<li>${agent && `${nameOf(agent)}: `}${at(instantOf(from))} to ${at(instantOf(to))}: ${detail} <code>${code}</code></li>`,
      )}
      ${missing.length > shown.length && html`<li>and ${count(missing.length - shown.length)} more</li>`}
    </ul>
  `;
}
