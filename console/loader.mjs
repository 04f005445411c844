// Reads what a view shows, and asks again when it may have changed. One loader reads at most one view at a time; a new
// view, or `stop`, ends what is under way.

import { Problem, ageOf, get, originOf } from "./api.mjs";
import { parseWithDecimals } from "./decimal.mjs";
import { FIELDS, MOST_ROWS, readCalls } from "./rows.mjs";
import { REASONS_QUERY, dailyQuery } from "./totals.mjs";
import { agentCount, agentsPath, hasSeveralAgents, queryOf, unitOf } from "./view.mjs";

/**
 * @typedef {import("./view.mjs").View} View
 * @typedef {import("./view.mjs").Agent} Agent
 * @typedef {import("./totals.mjs").Summary} Summary
 * @typedef {import("./rows.mjs").Call} Call
 * @typedef {{ limit: number | null, period: string | null, left: number | null, paused_until: string | null }} Budget
 *
 * @typedef {object} Totals
 * @property {Summary} daily
 * @property {Summary | null} reasons null if there are too many different ones
 * @property {import("./days.mjs").Unit} unit
 *
 * @typedef {object} Table
 * @property {Call[]} calls newest first
 * @property {"reading" | "done" | "failed"} phase
 * @property {boolean} hasMore whether there are older calls
 * @property {import("./totals.mjs").Missing[]} missing
 * @property {Problem | null} problem
 *
 * @typedef {object} State
 * @property {Totals | null} totals
 * @property {Table | null} table
 * @property {Problem | null} problem why the totals could not be read
 * @property {{ words: string, isStale: boolean, at: number } | null} origin where totals are from, and the instant
 *   (of `performance.now()`) at which they were true
 * @property {boolean} isBusy
 * @property {number | null} retryAt the instant of `performance.now()` at which a failed request is repeated
 * @property {{ version?: string, upstream?: string, budget?: Budget, ttl_stretch?: number } | null} gateway what `/status` says
 */

/** @type {State} */
export const NOTHING = {
  totals: null,
  table: null,
  problem: null,
  origin: null,
  isBusy: false,
  retryAt: null,
  gateway: null,
};

/** The shortest time between two rounds of requests, in seconds. */
const SHORTEST_PAUSE = 15;
/** How long to wait after a failure that says nothing of when to try again, in seconds. */
const PAUSE_AFTER_FAILURE = 10;
/** The longest time between two pictures of arriving rows, in milliseconds. */
const PICTURE_EVERY = 150;

export class Loader {
  /** @param {(state: State) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.state = NOTHING;
    this.abort = new AbortController();
    /** @type {{ view: View, agents: Agent[] } | null} */
    this.wanted = null;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.dueAt = Infinity;
    /** @type {Map<string, { etag: string | null, summary: Summary }>} */
    this.known = new Map();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && performance.now() >= this.dueAt) this.refresh();
    });
  }

  /**
   * Shows another view.
   * @param {View} view
   * @param {Agent[]} agents
   */
  show(view, agents) {
    this.stop();
    this.wanted = { view, agents };
    this.known.clear();
    this.refresh();
  }

  /** Ends everything, and forgets what was read. */
  stop() {
    this.abort.abort();
    clearTimeout(this.timer);
    this.wanted = null;
    this.dueAt = Infinity;
    this.state = NOTHING;
    this.onChange(this.state);
  }

  /** Asks again at once. */
  refresh() {
    if (this.wanted === null) return;
    this.abort.abort();
    clearTimeout(this.timer);
    this.abort = new AbortController();
    this.round(this.wanted, this.abort.signal).catch((error) => {
      // A fault of this page: it is shown like others, so that it can be reported.
      if (error?.name !== "AbortError")
        this.change({ isBusy: false, problem: new Problem(`This page failed: ${error}`) });
    });
  }

  /** @param {Partial<State>} changed */
  change(changed) {
    this.state = { ...this.state, ...changed };
    this.onChange(this.state);
  }

  /**
   * One round of requests, and the time of the next.
   * @param {{ view: View, agents: Agent[] }} wanted
   * @param {AbortSignal} signal
   */
  async round({ view, agents }, signal) {
    this.change({ isBusy: true, retryAt: null });
    const isFirst = this.state.table === null || this.state.table.phase !== "done";
    // At first both at once: they share what is read of upstream, and arriving rows show how far that is.
    const rows = isFirst ? this.readTable(view, agents, signal) : null;
    const totals = await this.readTotals(view, agents, signal);
    await (rows ?? (totals.changed ? this.readTable(view, agents, signal) : null));
    await this.readStatus(signal);
    signal.throwIfAborted();
    const failed = totals.problem ?? this.state.table?.problem ?? null;
    const pause = failed === null ? Math.max(SHORTEST_PAUSE, totals.freshFor) : pauseAfter(failed);
    this.change({
      isBusy: false,
      retryAt: failed && pause !== null ? performance.now() + pause * 1_000 : null,
    });
    this.schedule(pause);
  }

  /** @param {number | null} pause in seconds; null: never */
  schedule(pause) {
    this.dueAt = pause === null ? Infinity : performance.now() + pause * 1_000;
    if (pause === null) return;
    this.timer = setTimeout(() => {
      // A hidden page asks for nothing; it asks when it is shown again.
      if (!document.hidden) this.refresh();
    }, pause * 1_000);
  }

  /**
   * @param {View} view
   * @param {Agent[]} agents
   * @param {AbortSignal} signal
   */
  async readTotals(view, agents, signal) {
    const unit = unitOf(view, agents);
    try {
      const [daily, reasons] = await Promise.all([
        this.readSummary(view, dailyQuery(unit), signal),
        this.readSummary(view, REASONS_QUERY, signal).catch(unlessTooMany),
      ]);
      const changed = daily.isNew || reasons?.isNew === true;
      // An unchanged response is not drawn again.
      const totals =
        changed || this.state.totals === null
          ? { daily: daily.summary, reasons: reasons?.summary ?? null, unit }
          : this.state.totals;
      this.change({ totals, problem: null, origin: { ...daily.origin, at: daily.at } });
      return { changed, problem: null, freshFor: daily.freshFor };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.change({ problem: error });
      return { changed: false, problem: error, freshFor: 0 };
    }
  }

  /**
   * @param {View} view
   * @param {Record<string, string>} question
   * @param {AbortSignal} signal
   */
  async readSummary(view, question, signal) {
    const query = queryOf(view);
    Object.entries(question).forEach(([name, value]) => query.set(name, value));
    const path = `${agentsPath(view)}/summary?${query}`;
    const known = this.known.get(path);
    const response = await get(path, { signal, etag: known?.etag ?? null, prefer: "handling=lenient" });
    const isNew = known === undefined || response.status !== 304;
    /** @type {Summary} */
    const summary = isNew ? parseWithDecimals(await response.text()) : known.summary;
    this.known.set(path, { etag: response.headers.get("ETag") ?? null, summary });
    const age = ageOf(response.headers, isNew ? summary.as_of : null);
    const lifetime = Number(/max-age=(\d+)/.exec(response.headers.get("Cache-Control") ?? "")?.[1] ?? 0);
    return {
      summary,
      isNew,
      origin: originOf(response.headers),
      at: performance.now() - age * 1_000,
      freshFor: lifetime - Number(response.headers.get("Age") ?? 0),
    };
  }

  /**
   * Reads the newest rows. Those of before are shown until the new ones are all there.
   * @param {View} view
   * @param {Agent[]} agents
   * @param {AbortSignal} signal
   */
  async readTable(view, agents, signal) {
    const before = this.state.table?.phase === "done" ? this.state.table : null;
    /** @type {Call[]} */
    const calls = [];
    let drawnAt = -Infinity;
    const draw = (/** @type {Partial<Table>} */ more) => {
      drawnAt = performance.now();
      this.change({
        table: {
          calls: calls.slice(),
          phase: "reading",
          hasMore: false,
          missing: [],
          problem: null,
          ...more,
        },
      });
    };
    try {
      const response = await get(rowsPath(view, agentCount(view, agents)), {
        signal,
        prefer: "handling=lenient",
      });
      const end = await readCalls(response, view.agents[0] ?? "", (some) => {
        for (const call of some) calls.push(call);
        if (before === null && performance.now() - drawnAt > PICTURE_EVERY) draw({});
      });
      // Agents come one after another.
      if (hasSeveralAgents(view)) calls.sort((one, two) => (one.at < two.at ? 1 : one.at > two.at ? -1 : 0));
      const problem = end.error
        ? new Problem(end.error.detail, { code: end.error.code, requestId: end.error.request_id ?? null })
        : null;
      const hasMore = end.has_more === true || end.agents?.some((agent) => agent.has_more === true) === true;
      const missing = end.missing ?? end.agents?.flatMap((agent) => agent.missing ?? []) ?? [];
      draw({ phase: problem ? "failed" : "done", hasMore, missing, problem });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (before !== null) this.change({ table: { ...before, problem: error } });
      else draw({ phase: "failed", problem: error });
    }
  }

  /** What `/status` says; nothing if it can't be had. @param {AbortSignal} signal */
  async readStatus(signal) {
    try {
      const response = await get("status", { signal });
      this.change({ gateway: await response.json() });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.change({ gateway: null });
    }
  }
}

/**
 * @param {View} view
 * @param {number} agents how many there are
 */
function rowsPath(view, agents) {
  const query = queryOf(view);
  // With several agents the limit is for each of them.
  query.set("limit", String(Math.max(1, Math.floor(MOST_ROWS / agents))));
  query.set("fields", FIELDS.join(","));
  query.set("format", "ndjson");
  query.set("end_record", "true");
  return `${agentsPath(view)}/all?${query}`;
}

/**
 * Too many different groups are no reason to show nothing else.
 * @param {unknown} error
 * @returns {null}
 */
function unlessTooMany(error) {
  if (error instanceof Problem && error.code === "answer_too_large") return null;
  throw error;
}

/**
 * How long to wait before asking again by itself; null if asking again would change nothing.
 * @param {Problem} problem
 */
function pauseAfter(problem) {
  if (problem.retryAfter !== null) return problem.retryAfter;
  return problem.code === "unreachable" || problem.code === "cut_off" || problem.status >= 500
    ? PAUSE_AFTER_FAILURE
    : null;
}
