// What the tiles, charts and lists show, computed from two responses of `/summary`. No total is ever added up from rows.

import { allBetween } from "./days.mjs";
import { sum } from "./decimal.mjs";
import { isFailure, isUnderWay } from "./words.mjs";

/**
 * @typedef {import("./decimal.mjs").Decimal} Decimal
 * @typedef {{ count: Decimal, sum: Decimal }} Stat
 * @typedef {{ key: Record<string, string | null>, count: Decimal, stats: Record<string, Stat> }} Group
 * @typedef {{ from: string, to: string, code: string, detail: string }} Missing
 * @typedef {object} Summary numbers are the text that stands in the response
 * @property {string} as_of
 * @property {boolean} complete
 * @property {Missing[]} [missing]
 * @property {{ agent_id: string, missing?: Missing[] }[]} [agents]
 * @property {Decimal} total
 * @property {string} time_zone
 * @property {Record<string, Stat>} stats
 * @property {Group[]} groups
 * @property {{ bounds: Decimal[], counts: Decimal[] }} [histogram]
 */

/** Bounds of the lengths of conversation, in seconds. The first counts calls that did not connect. */
export const BOUNDS = [0, 10, 30, 60, 120, 300, 600];
const LENGTHS = [
  "0 s",
  "up to 10 s",
  "up to 30 s",
  "up to 1 min",
  "up to 2 min",
  "up to 5 min",
  "up to 10 min",
  "longer",
];

/**
 * The parts that a response lacks; with several agents, each says which it lacks.
 * @param {Summary} summary
 * @returns {(Missing & { agent?: string })[]}
 */
export function missingOf({ missing = [], agents = [] }) {
  return [
    ...missing,
    ...agents.flatMap((one) => (one.missing ?? []).map((part) => ({ ...part, agent: one.agent_id }))),
  ];
}

/** @param {import("./days.mjs").Unit} unit */
export function dailyQuery(unit) {
  return {
    group_by: `${unit},status`,
    stats: "total_cost,conversation_duration",
    histogram: "conversation_duration",
    bounds: BOUNDS.join(","),
  };
}

/** Never by free text: `error_message` holds what callers said and has no end of different values. */
export const REASONS_QUERY = { group_by: "status,telephony_data.hangup_reason", stats: "total_cost" };

/**
 * The tiles.
 * @param {Summary} summary
 */
export function tiles(summary) {
  const [silent = 0, ...spoken] = (summary.histogram?.counts ?? []).map(Number);
  const connected = spoken.reduce((all, one) => all + one, 0);
  const cost = summary.stats.total_cost?.sum ?? "0";
  const seconds = Number(summary.stats.conversation_duration?.sum ?? 0);
  const underWay = summary.groups.filter(({ key }) => isUnderWay(key.status ?? null));
  return {
    calls: Number(summary.total),
    connected,
    judged: silent + connected,
    cost,
    centsPerMinute: seconds > 0 ? Number(cost) / (seconds / 60) : null,
    seconds,
    underWay: underWay.reduce((all, { count }) => all + Number(count), 0),
  };
}

/**
 * @typedef {object} Series calls and cost over time
 * @property {string[]} days
 * @property {string[]} statuses the most frequent first
 * @property {Map<string, Map<string, number>>} calls status → day → calls
 * @property {Map<string, Decimal>} cost day → cents
 * @property {number} undated calls without a readable date
 */

/**
 * @param {Summary} summary
 * @param {import("./days.mjs").Unit} unit
 * @returns {Series}
 */
export function series(summary, unit) {
  /** @type {Map<string, Map<string, number>>} */
  const calls = new Map();
  /** @type {Map<string, Decimal[]>} */
  const costs = new Map();
  let undated = 0;
  for (const { key, count, stats } of summary.groups) {
    const day = key[unit] ?? null;
    if (day === null) {
      undated += Number(count);
      continue;
    }
    const status = key.status ?? "(none)";
    const byDay = calls.get(status) ?? new Map();
    byDay.set(day, (byDay.get(day) ?? 0) + Number(count));
    calls.set(status, byDay);
    const cost = costs.get(day) ?? [];
    cost.push(stats.total_cost?.sum ?? "0");
    costs.set(day, cost);
  }
  const totals = new Map([...calls].map(([status, byDay]) => [status, total(byDay)]));
  const statuses = [...calls.keys()].sort((one, two) => (totals.get(two) ?? 0) - (totals.get(one) ?? 0));
  const seen = [...costs.keys()].sort();
  const [first] = seen;
  const days = first === undefined ? [] : allBetween(first, seen.at(-1) ?? first, unit);
  const cost = new Map([...costs].map(([day, all]) => [day, sum(all)]));
  return { days, statuses, calls, cost, undated };
}

/** @param {Map<string, number>} byDay */
export function total(byDay) {
  return [...byDay.values()].reduce((all, one) => all + one, 0);
}

/**
 * @typedef {{ label: string, count: number }} Part
 */

/**
 * How long calls lasted.
 * @param {Summary} summary
 * @returns {Part[]}
 */
export function lengths(summary) {
  const counts = summary.histogram?.counts ?? [];
  return LENGTHS.map((label, at) => ({ label, count: Number(counts[at] ?? 0) }));
}

/**
 * Why calls ended, the most frequent reason first.
 * @param {Summary} summary
 */
export function hangupReasons(summary) {
  return ranked(summary.groups.map(({ key, count }) => [reasonOf(key), Number(count)]));
}

/**
 * Calls that went wrong, by status and reason.
 * @param {Summary} summary
 */
export function failures(summary) {
  const failed = summary.groups.filter(({ key }) => isFailure(key.status ?? null));
  return ranked(failed.map(({ key, count }) => [`${key.status} · ${reasonOf(key)}`, Number(count)]));
}

/** @param {Group["key"]} key */
function reasonOf(key) {
  return key["telephony_data.hangup_reason"] || "(no reason given)";
}

/**
 * @param {[string, number][]} counted
 * @returns {Part[]}
 */
function ranked(counted) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const [label, count] of counted) counts.set(label, (counts.get(label) ?? 0) + count);
  return [...counts].map(([label, count]) => ({ label, count })).sort((one, two) => two.count - one.count);
}
