// The rows of the table: read from a stream of lines, and kept as small objects.

import { Problem, lines } from "./api.mjs";
import { instantOf, textOf } from "./words.mjs";

/** The most rows that the table holds. */
export const MOST_ROWS = 50_000;

/**
 * How long rows are parsed at a stretch, in milliseconds: about a frame. Rows that have already arrived would otherwise keep
 * the page from drawing the totals, and from scrolling, until all of them are parsed.
 */
const SLICE = 16;

/** What is read of each row. */
export const FIELDS = [
  "id",
  "created_at",
  "status",
  "conversation_duration",
  "total_cost",
  "user_number",
  "telephony_data.to_number",
  "telephony_data.hangup_reason",
];

/**
 * @typedef {object} Call one row of the table
 * @property {string} id
 * @property {string} agent
 * @property {string} created as upstream wrote it
 * @property {number} at its instant; NaN if it can't be read
 * @property {string} status
 * @property {number} seconds
 * @property {number} cents
 * @property {string} number
 * @property {string} reason
 *
 * @typedef {object} End what the last line of a stream says
 * @property {boolean} complete
 * @property {number} count
 * @property {string} as_of
 * @property {boolean} [has_more]
 * @property {string | null} [cursor] where the next response about changes goes on
 * @property {import("./totals.mjs").Missing[]} [missing]
 * @property {{ detail: string, code: string, status?: number, request_id?: string }} [error]
 * @property {(End & { agent_id: string })[]} [agents]
 */

/**
 * Reads a stream of rows to its end.
 * @param {Response} response
 * @param {string} first the agent whose rows these are until a line names another
 * @param {AbortSignal} signal the signal of the request
 * @param {(calls: Call[]) => unknown} onCalls called as rows arrive; false ends the read
 * @param {(id: string, agent: string) => void} [onRemoved] called for each row that is gone
 * @returns {Promise<End | null>} null if `onCalls` ended it
 * @throws {Problem} if the stream breaks off without a verdict
 */
export async function readCalls(response, first, signal, onCalls, onRemoved = () => {}) {
  const keep = interned();
  let agent = first;
  /** @type {End | null} */
  let end = null;
  let begun = performance.now();
  /** @type {Call[]} */
  let calls = [];
  try {
    for await (const some of lines(response)) {
      for (const line of some) {
        const row = JSON.parse(line);
        const control = controlName(row);
        if (control === null) calls.push(callOf(row, agent, keep));
        else if (control === "@agent") agent = row["@agent"].agent_id;
        else if (control === "@removed") onRemoved(row["@removed"].id, row["@removed"].agent_id ?? first);
        else if (control === "@end") end = row["@end"];
        if (performance.now() - begun < SLICE) continue;
        if (calls.length > 0 && onCalls(calls) === false) return null;
        calls = [];
        await nextTask();
        signal.throwIfAborted();
        begun = performance.now();
      }
      if (calls.length > 0 && onCalls(calls) === false) return null;
      calls = [];
    }
  } catch (error) {
    if (signal.aborted) throw error;
    // After an incomplete verdict the body is broken off on purpose.
    if (end === null) throw cutOff(response);
  }
  if (end === null) throw cutOff(response);
  return end;
}

/** Lets the page do what waits to be done. A timer would come late in a hidden tab. @returns {Promise<void>} */
function nextTask() {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(null);
  });
}

/** @param {Response} response */
function cutOff(response) {
  const requestId = response.headers.get("X-Request-Id");
  return new Problem("The connection broke before the last call.", { code: "cut_off", requestId });
}

/** The name of a control line; null for a row. @param {Record<string, unknown>} row */
function controlName(row) {
  const names = Object.keys(row);
  return names.length === 1 && names[0]?.startsWith("@") ? names[0] : null;
}

/**
 * @param {any} row
 * @param {string} agent
 * @param {(text: string) => string} keep
 * @returns {Call}
 */
function callOf(row, agent, keep) {
  const telephony = row.telephony_data ?? {};
  return {
    id: textOf(row.id),
    agent,
    created: textOf(row.created_at),
    at: instantOf(row.created_at),
    status: keep(textOf(row.status)),
    seconds: Number(row.conversation_duration ?? 0) || 0,
    cents: Number(row.total_cost ?? 0) || 0,
    number: keep(textOf(row.user_number) || textOf(telephony.to_number)),
    reason: keep(textOf(telephony.hangup_reason)),
  };
}

/**
 * The order of the table: the newest first, then by id, and calls without a readable date at the end.
 * @param {Call} one
 * @param {Call} two
 */
export function byTime(one, two) {
  const [a, b] = [Number.isNaN(one.at) ? -Infinity : one.at, Number.isNaN(two.at) ? -Infinity : two.at];
  if (a !== b) return a < b ? 1 : -1;
  return one.id < two.id ? -1 : one.id > two.id ? 1 : 0;
}

/**
 * The calls after a change. Calls that did not change are the same objects, and keep their order.
 * @param {Call[]} calls
 * @param {Call[]} changed new calls, and calls that replace those of the same id
 * @param {Map<string, string>} removed id → agent
 * @returns {Call[]}
 */
export function applied(calls, changed, removed) {
  if (changed.length === 0 && removed.size === 0) return calls;
  const fresh = new Map(changed.map((call) => [`${call.agent} ${call.id}`, call]));
  const ids = new Set(changed.map(({ id }) => id));
  /** @type {Call[]} */
  const kept = [];
  for (const call of calls) {
    const key = ids.has(call.id) ? `${call.agent} ${call.id}` : "";
    const next = fresh.get(key);
    if (next === undefined) {
      if (removed.get(call.id) !== call.agent) kept.push(call);
    } else if (Object.is(next.at, call.at)) {
      kept.push(next);
      fresh.delete(key);
    }
  }
  return merged(kept, [...fresh.values()].sort(byTime));
}

/**
 * Puts calls among others, which keep their order.
 * @param {Call[]} kept
 * @param {Call[]} fresh in order
 */
function merged(kept, fresh) {
  if (fresh.length === 0) return kept;
  /** @type {Call[]} */
  const all = [];
  let next = 0;
  for (const call of kept) {
    // A call without a date stays behind the call that it came after.
    while (!Number.isNaN(call.at) && next < fresh.length && byTime(fresh[next], call) < 0) {
      all.push(fresh[next]);
      next += 1;
    }
    all.push(call);
  }
  return all.concat(fresh.slice(next));
}

/** Keeps one copy of texts that come again and again. @returns {(text: string) => string} */
function interned() {
  const known = new Map();
  return (text) => {
    const first = known.get(text);
    if (first !== undefined) return first;
    known.set(text, text);
    return text;
  };
}

/** @typedef {"at" | "status" | "seconds" | "cents" | "number" | "reason" | "agent"} Column */

/**
 * The calls that match, in order.
 * @param {Call[]} calls newest first
 * @param {{ text: string, status: string, by: Column, descending: boolean }} wanted
 */
export function select(calls, { text, status, by, descending }) {
  const needle = text.trim().toLowerCase();
  const matches = calls.filter(
    (call) =>
      (status === "" || call.status === status) &&
      (needle === "" ||
        call.id.includes(needle) ||
        call.number.includes(needle) ||
        call.status.includes(needle) ||
        call.reason.toLowerCase().includes(needle)),
  );
  if (by === "at" && descending) return matches;
  const direction = descending ? -1 : 1;
  return matches.sort((one, two) => {
    const [a, b] = [one[by], two[by]];
    return a < b ? -direction : a > b ? direction : 0;
  });
}
