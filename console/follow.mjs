// Reads the rows of the table: all of them at first, and from then on only what changed.
//
// `/changes` returns all rows and a cursor; with that cursor, it returns the rows that are new or different since, and the
// ids of those that are gone. The newest rows are read again as a whole where the range has more rows than the table
// holds, where a part of it can't be read, and where the gateway gives no cursor.

import { Problem, get } from "./api.mjs";
import { FIELDS, MOST_ROWS, applied, byTime, readCalls } from "./rows.mjs";
import { agentCount, agentsPath, hasSeveralAgents } from "./view.mjs";

/**
 * @typedef {import("./rows.mjs").Call} Call
 * @typedef {import("./rows.mjs").End} End
 * @typedef {import("./loader.mjs").Table} Table
 * @typedef {import("./loader.mjs").Wanted} Wanted
 *
 * @typedef {object} Known
 * @property {Table | null} table rows that were read before and are to be brought up to date
 * @property {import("./totals.mjs").Summary | null} totals of the same range, if they have come
 */

/** What is asked of each row. */
const FORM = new URLSearchParams({ fields: FIELDS.join(","), format: "ndjson" });

/** A cursor that the gateway does not accept any more: its change log is gone, or it is of another release. */
const LOST_CURSOR = [400, 410];

export class RowReader {
  constructor() {
    /** The path and query that the cursor belongs to. */
    this.question = "";
    /** @type {string | null} */
    this.cursor = null;
    /** False once the gateway has said that it can't follow these rows. */
    this.canFollow = true;
  }

  /**
   * Reads the rows of a view, or what changed of them.
   * @param {Wanted} wanted
   * @param {Known} known
   * @param {AbortSignal} signal
   * @param {(calls: Call[]) => void} onArriving called with all rows so far while they arrive
   * @returns {Promise<Table>}
   * @throws {Problem} if not all rows came; the cursor is as it was
   */
  async read(wanted, { table, totals }, signal, onArriving) {
    const question = `${agentsPath(wanted.view)}/changes?${wanted.range}&${FORM}`;
    if (question !== this.question) {
      this.question = question;
      this.cursor = null;
      this.canFollow = true;
    }
    if (table !== null && this.cursor !== null) {
      const changed = await this.readChanges(wanted, table, this.cursor, signal);
      if (changed !== null) return changed;
    }
    this.cursor = null;
    const fits = totals === null || Number(totals.total) <= MOST_ROWS;
    // `/changes` is complete or fails; the rows of the rest are worth showing.
    const isWhole = totals === null || totals.complete;
    const all =
      this.canFollow && fits && isWhole ? await this.readAll(wanted, table, signal, onArriving) : null;
    return all ?? (await this.readNewest(wanted, table, signal, onArriving));
  }

  /**
   * Reads all rows, and the first cursor. A table that is full ends the read.
   * @param {Wanted} wanted
   * @param {Table | null} before
   * @param {AbortSignal} signal
   * @param {(calls: Call[]) => void} onArriving
   * @returns {Promise<Table | null>} null if there are too many to tell which are the newest
   */
  async readAll({ view, isForced }, before, signal, onArriving) {
    /** @type {Call[]} */
    const calls = [];
    const response = await get(this.question, { signal, isForced });
    const end = await readCalls(response, view.agents[0] ?? "", signal, (some) => {
      for (const call of some) calls.push(call);
      if (calls.length > MOST_ROWS) return false;
      onArriving(calls);
      return true;
    });
    if (end === null) {
      // Agents come one after another, so these are not the newest of all.
      if (hasSeveralAgents(view)) return null;
      return tableOf(calls.slice(0, MOST_ROWS), before, { hasMore: true });
    }
    mustBeComplete(end);
    this.keep(end);
    if (hasSeveralAgents(view)) calls.sort(byTime);
    return tableOf(calls, before);
  }

  /**
   * Applies what changed since the cursor.
   * @param {Wanted} wanted
   * @param {Table} before
   * @param {string} cursor
   * @param {AbortSignal} signal
   * @returns {Promise<Table | null>} null if the cursor is lost
   */
  async readChanges({ view, isForced }, before, cursor, signal) {
    /** @type {Call[]} */
    const changed = [];
    /** @type {Map<string, string>} */
    const removed = new Map();
    try {
      const path = `${this.question}&since=${encodeURIComponent(cursor)}`;
      const response = await get(path, { signal, isForced });
      const end = await readCalls(
        response,
        view.agents[0] ?? "",
        signal,
        (some) => {
          for (const call of some) changed.push(call);
        },
        (id, agent) => removed.set(id, agent),
      );
      if (end === null) return null;
      mustBeComplete(end);
      this.keep(end);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (LOST_CURSOR.includes(error.status) || error.code === "cursor_gone") return null;
      throw error;
    }
    const calls = applied(before.calls, changed, removed);
    if (calls.length <= MOST_ROWS) return tableOf(calls, before);
    this.cursor = null;
    return tableOf(calls.slice(0, MOST_ROWS), before, { hasMore: true });
  }

  /**
   * Reads the newest rows, without those of parts that can't be read.
   * @param {Wanted} wanted
   * @param {Table | null} before
   * @param {AbortSignal} signal
   * @param {(calls: Call[]) => void} onArriving
   * @returns {Promise<Table>}
   */
  async readNewest({ view, agents, range, isForced }, before, signal, onArriving) {
    /** @type {Call[]} */
    const calls = [];
    // With several agents the limit is for each of them.
    const limit = Math.max(1, Math.floor(MOST_ROWS / agentCount(view, agents)));
    const path = `${agentsPath(view)}/all?${range}&${FORM}&limit=${limit}&end_record=true`;
    const response = await get(path, { signal, prefer: "handling=lenient", isForced });
    const end = await readCalls(response, view.agents[0] ?? "", signal, (some) => {
      for (const call of some) calls.push(call);
      onArriving(calls);
    });
    if (end?.error) throw problemOf(end);
    if (hasSeveralAgents(view)) calls.sort(byTime);
    const sections = end?.agents ?? [];
    return tableOf(calls, before, {
      hasMore: end?.has_more === true || sections.some((section) => section.has_more === true),
      missing: end?.missing ?? sections.flatMap((section) => section.missing ?? []),
    });
  }

  /** Keeps the cursor of a complete response. @param {End} end */
  keep({ cursor }) {
    this.cursor = cursor ?? null;
    this.canFollow = this.cursor !== null;
  }
}

/**
 * @param {Call[]} calls
 * @param {Table | null} before
 * @param {Partial<Table>} more
 * @returns {Table}
 */
function tableOf(calls, before, more = {}) {
  const news = before === null ? null : newsOf(before, calls);
  return { calls, phase: "done", hasMore: false, missing: [], problem: null, news, ...more };
}

/**
 * What is new in the table. The same object as long as nothing is, because it is announced once.
 * @param {Table} before
 * @param {Call[]} calls
 */
function newsOf(before, calls) {
  const known = new Set(before.calls.map(({ id }) => id));
  const added = calls.reduce((sum, { id }) => sum + (known.has(id) ? 0 : 1), 0);
  const gone = before.calls.length + added - calls.length;
  return added === 0 && gone === 0 ? before.news : { added, gone, all: calls.length };
}

/** @param {End} end */
function mustBeComplete(end) {
  if (!end.complete) throw problemOf(end);
}

/** @param {End} end */
function problemOf({ error }) {
  if (error === undefined) return new Problem("The response is incomplete.", { code: "incomplete" });
  const { detail, code, status = 500, request_id: requestId = null } = error;
  return new Problem(detail, { code, status, requestId });
}
