// The rows of the table: read as a stream, kept as small objects.

import { Problem, lines } from "./api.mjs";
import { instantOf, textOf } from "./words.mjs";

/** The most rows that the table holds. */
export const MOST_ROWS = 50_000;

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
 * @property {import("./totals.mjs").Missing[]} [missing]
 * @property {{ detail: string, code: string, request_id?: string }} [error]
 * @property {(End & { agent_id: string })[]} [agents]
 */

/**
 * Reads a stream of rows to its end.
 * @param {Response} response
 * @param {string} agent whose rows these are until a line names another
 * @param {(calls: Call[]) => void} onCalls called as rows arrive
 * @returns {Promise<End>}
 * @throws {Problem} if the stream breaks off without a verdict
 */
export async function readCalls(response, agent, onCalls) {
  const keep = interned();
  /** @type {End | null} */
  let end = null;
  try {
    for await (const some of lines(response)) {
      /** @type {Call[]} */
      const calls = [];
      for (const line of some) {
        const row = JSON.parse(line);
        const control = controlName(row);
        if (control === null) calls.push(callOf(row, agent, keep));
        else if (control === "@agent") agent = row["@agent"].agent_id;
        else if (control === "@end") end = row["@end"];
      }
      if (calls.length > 0) onCalls(calls);
    }
  } catch (error) {
    // After an incomplete verdict the body is broken off on purpose.
    if (end === null)
      throw error instanceof DOMException && error.name === "AbortError" ? error : cutOff(response);
  }
  if (end === null) throw cutOff(response);
  return end;
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
