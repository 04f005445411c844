// Reads what a view shows, and asks again when it may have changed. One loader reads at most one view at a time; a new
// view, or `stop`, ends what is under way.

import { Problem, ageOf, get, originOf } from "./api.mjs";
import { parseWithDecimals } from "./decimal.mjs";
import { RowReader } from "./follow.mjs";
import { MOST_ROWS } from "./rows.mjs";
import { REASONS_QUERY, dailyQuery } from "./totals.mjs";
import { agentsPath, queryOf, unitOf } from "./view.mjs";

/**
 * @typedef {import("./view.mjs").View} View
 * @typedef {import("./view.mjs").Agent} Agent
 * @typedef {import("./totals.mjs").Summary} Summary
 * @typedef {import("./rows.mjs").Call} Call
 * @typedef {object} Wanted
 * @property {View} view
 * @property {Agent[]} agents
 * @property {string} range the part of the query that selects calls
 * @property {boolean} isForced whether recent calls are to be read again, also if the gateway takes them for fresh
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
 * @property {Problem | null} problem why not all calls were read; of a table that is "done", why it is not up to date
 * @property {{ added: number, gone: number, all: number } | null} news how the last change came out
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
/** The shortest time between two pictures of arriving rows, and before the first, in milliseconds. */
const PICTURE_EVERY = 400;

export class Loader {
  /** @param {(state: State) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.state = NOTHING;
    this.abort = new AbortController();
    /** @type {{ view: View, agents: Agent[] } | null} */
    this.shown = null;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.dueAt = Infinity;
    /** @type {Map<string, { etag: string | null, summary: Summary }>} */
    this.known = new Map();
    this.range = "";
    this.rows = new RowReader();
    /** Whether a response with totals has begun and is not drawn yet. Pictures of arriving rows wait for it. */
    this.hasTotalsToDraw = false;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && performance.now() >= this.dueAt) this.begin(false);
    });
  }

  /**
   * Shows another view.
   * @param {View} view
   * @param {Agent[]} agents
   */
  show(view, agents) {
    this.stop();
    this.shown = { view, agents };
    this.range = "";
    this.rows = new RowReader();
    this.begin(false);
  }

  /** Ends everything, and forgets what was read. */
  stop() {
    this.abort.abort();
    clearTimeout(this.timer);
    this.shown = null;
    this.dueAt = Infinity;
    this.state = NOTHING;
    this.onChange(this.state);
  }

  /** Asks again at once, for the most recent that upstream has. */
  refresh() {
    this.begin(true);
  }

  /** Begins a round of requests. @param {boolean} isForced */
  begin(isForced) {
    if (this.shown === null) return;
    this.abort.abort();
    clearTimeout(this.timer);
    this.abort = new AbortController();
    this.round(this.shown, isForced, this.abort.signal).catch((error) => {
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
   * @param {{ view: View, agents: Agent[] }} shown
   * @param {boolean} isForced
   * @param {AbortSignal} signal
   */
  async round({ view, agents }, isForced, signal) {
    this.change({ isBusy: true, retryAt: null });
    const wanted = { view, agents, range: this.rangeOf(view), isForced };
    const { table } = this.state;
    const isBehind = table === null || table.phase !== "done" || table.problem !== null;
    // At first both at once: they share what is read of upstream, and arriving rows show how far that is.
    const [totals] = await Promise.all([
      this.readTotals(wanted, signal),
      isBehind ? this.readTable(wanted, signal) : null,
    ]);
    if (isBehind ? this.lacksRows() : totals.changed) await this.readTable(wanted, signal);
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

  /**
   * The part of the query that selects calls. It stays the same until midnight in the view's zone.
   * @param {View} view
   */
  rangeOf(view) {
    const range = String(queryOf(view));
    if (range !== this.range) {
      this.range = range;
      this.known.clear();
    }
    return range;
  }

  /** Whether reading the rows failed, and the totals show that they are to be read in another way. */
  lacksRows() {
    const { totals, table, problem } = this.state;
    const isOther = totals?.daily.complete === false || Number(totals?.daily.total) > MOST_ROWS;
    return problem === null && isOther && table?.phase === "failed";
  }

  /** @param {number | null} pause in seconds; null: never */
  schedule(pause) {
    this.dueAt = pause === null ? Infinity : performance.now() + pause * 1_000;
    if (pause === null) return;
    this.timer = setTimeout(() => {
      // A hidden page asks for nothing; it asks when it is shown again.
      if (!document.hidden) this.begin(false);
    }, pause * 1_000);
  }

  /**
   * @param {Wanted} wanted
   * @param {AbortSignal} signal
   */
  async readTotals(wanted, signal) {
    const unit = unitOf(wanted.view, wanted.agents);
    try {
      const [daily, reasons] = await Promise.all([
        this.readSummary(wanted, dailyQuery(unit), signal),
        this.readSummary(wanted, REASONS_QUERY, signal).catch(unlessTooMany),
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
    } finally {
      this.hasTotalsToDraw = false;
    }
  }

  /**
   * @param {Wanted} wanted
   * @param {Record<string, string>} question
   * @param {AbortSignal} signal
   */
  async readSummary({ view, range, isForced }, question, signal) {
    const path = `${agentsPath(view)}/summary?${range}&${new URLSearchParams(question)}`;
    const known = this.known.get(path);
    const etag = known?.etag ?? null;
    const response = await get(path, { signal, etag, prefer: "handling=lenient", isForced });
    this.hasTotalsToDraw = true;
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
   * Reads the rows, or what changed of them. Rows that were read before are shown until all of the new ones are there.
   * @param {Wanted} wanted
   * @param {AbortSignal} signal
   */
  async readTable(wanted, signal) {
    const { table, totals } = this.state;
    const before = table?.phase === "done" ? table : null;
    /** @type {Call[]} */
    let arrived = [];
    let drawnAt = performance.now();
    const unfinished = { hasMore: false, missing: [], problem: null, news: null };
    try {
      const known = { table: before, totals: totals?.daily ?? null };
      const read = await this.rows.read(wanted, known, signal, (calls) => {
        arrived = calls;
        const isTooSoon = this.hasTotalsToDraw || performance.now() - drawnAt < PICTURE_EVERY;
        if (before !== null || isTooSoon) return;
        drawnAt = performance.now();
        this.change({ table: { ...unfinished, calls: calls.slice(), phase: "reading" } });
      });
      this.change({ table: read });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      const shown = before ?? { ...unfinished, calls: arrived, phase: "failed" };
      this.change({ table: { ...shown, problem } });
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
  const isForNow = problem.status === 429 || problem.status >= 500;
  return isForNow || problem.code === "unreachable" || problem.code === "cut_off" ? PAUSE_AFTER_FAILURE : null;
}
