// What is looked at: agents, a range of days, a time zone. It is kept in the address after `#`, without the key, so that
// a reload or a bookmark shows the same.

import { browserZone, daysBetween, dayOf, plusDays, today } from "./days.mjs";

/**
 * @typedef {"today" | "7d" | "30d" | "90d" | "all" | "dates"} Range
 * @typedef {{ agents: string[], range: Range, from: string, to: string, zone: string }} View
 * @typedef {{ id: string, name: string, createdAt: number | null }} Agent
 * @typedef {{ first: string | null, last: string }} Days the first and last day; null for the beginning of history
 */

/** Ranges to choose from, and how many days each has. @type {[Range, string, number | null][]} */
export const RANGES = [
  ["today", "Today", 1],
  ["7d", "Last 7 days", 7],
  ["30d", "Last 30 days", 30],
  ["90d", "Last 90 days", 90],
  ["all", "Everything", null],
  ["dates", "Dates…", null],
];

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DAY = /^\d{4}-\d\d-\d\d$/;

/** @returns {View} */
export function viewFromAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const zone = said.get("zone") ?? browserZone();
  const range = /** @type {Range} */ (
    RANGES.some(([name]) => name === said.get("range")) ? said.get("range") : "7d"
  );
  const day = (/** @type {string} */ name) => (DAY.test(said.get(name) ?? "") ? String(said.get(name)) : "");
  const agents = (said.get("agents") ?? "").split(",").filter((id) => UUID.test(id) || id === "all");
  return { agents, range, from: day("from"), to: day("to"), zone: isZone(zone) ? zone : "UTC" };
}

/** @param {View} view */
export function viewIntoAddress(view) {
  const said = new URLSearchParams({ agents: view.agents.join(","), range: view.range, zone: view.zone });
  if (view.range === "dates") {
    said.set("from", view.from);
    said.set("to", view.to);
  }
  history.replaceState(null, "", `#${said.toString().replaceAll("%2C", ",").replaceAll("%2F", "/")}`);
}

/** @param {string} zone */
function isZone(zone) {
  try {
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: zone }));
  } catch {
    return false;
  }
}

/**
 * The days of a view.
 * @param {View} view
 * @returns {Days}
 */
export function daysOf(view) {
  const now = today(view.zone);
  if (view.range === "dates") return { first: view.from || null, last: view.to || now };
  const days = RANGES.find(([name]) => name === view.range)?.[2];
  return { first: days ? plusDays(now, 1 - days) : null, last: now };
}

/**
 * The query of everything that is asked about a view. Without `to`, the range goes on until now.
 * @param {View} view
 */
export function queryOf(view) {
  const { first, last } = daysOf(view);
  const query = new URLSearchParams({ time_zone: view.zone });
  if (first) query.set("from", first);
  if (last < today(view.zone)) query.set("to", last);
  return query;
}

/**
 * The unit of the charts: few enough to be seen, and far below the most groups that a response may have.
 * @param {View} view
 * @param {Agent[]} agents
 * @returns {import("./days.mjs").Unit}
 */
export function unitOf(view, agents) {
  const { first, last } = daysOf(view);
  const days = daysBetween(first ?? historyStart(view, agents), last);
  if (days <= 190) return "@day";
  return days <= 1_300 ? "@week" : "@month";
}

/**
 * The day before which there is nothing.
 * @param {View} view
 * @param {Agent[]} agents
 */
export function historyStart(view, agents) {
  const chosen = agents.filter(({ id }) => view.agents.includes(id) || view.agents[0] === "all");
  const created = chosen.map(({ createdAt }) => createdAt).filter((at) => at !== null);
  // Nothing at upstream is older.
  return created.length === 0
    ? "2020-01-01"
    : dayOf(
        created.reduce((one, two) => Math.min(one, two)),
        view.zone,
      );
}

/** The path of the agents of a view. @param {View} view */
export function agentsPath(view) {
  return `agents/${view.agents.join(",")}/executions`;
}

/** Whether a view may show calls of more than one agent. @param {View} view */
export function hasSeveralAgents(view) {
  return view.agents.length > 1 || view.agents[0] === "all";
}

/**
 * The agents of a view, as far as they are known.
 * @param {View} view
 * @param {Agent[]} agents
 */
export function agentCount(view, agents) {
  return Math.max(1, view.agents[0] === "all" ? agents.length : view.agents.length);
}
