// Civil dates in a time zone. Days are texts such as 2026-11-01; the browser's own zone never matters.

const DAY_MS = 86_400_000;

/**
 * The current day.
 * @param {string} zone
 */
export function today(zone) {
  return dayOf(Date.now(), zone);
}

/**
 * The day of an instant.
 * @param {number} instant
 * @param {string} zone
 */
export function dayOf(instant, zone) {
  const parts = new Intl.DateTimeFormat("en", {
    timeZone: zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
  }).formatToParts(instant);
  const part = (/** @type {string} */ type) => parts.find((one) => one.type === type)?.value ?? "";
  return `${part("year")}-${part("month")}-${part("day")}`;
}

/**
 * A day so many days later.
 * @param {string} day
 * @param {number} days
 */
export function plusDays(day, days) {
  return new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10);
}

/**
 * How many days later a day is.
 * @param {string} from
 * @param {string} to
 */
export function daysBetween(from, to) {
  return Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS);
}

/**
 * All days, weeks or months from the first to the last, so that those without calls have a place on an axis.
 * @param {string} first
 * @param {string} last
 * @param {Unit} unit
 */
export function allBetween(first, last, unit) {
  const all = [];
  for (let at = first; at <= last && all.length < 4_000; at = next(at, unit)) all.push(at);
  return all;
}

/** @typedef {"@day" | "@week" | "@month"} Unit */

/**
 * @param {string} at
 * @param {Unit} unit
 */
function next(at, unit) {
  if (unit === "@day") return plusDays(at, 1);
  if (unit === "@week") return plusDays(at, 7);
  const [year = 0, month = 0] = at.split("-").map(Number);
  const later = month === 12 ? `${year + 1}-01` : `${year}-${String(month + 1).padStart(2, "0")}`;
  return at.length === 7 ? later : `${later}-01`;
}

/**
 * A day for an axis or a table, such as "Mon, Nov 2".
 * @param {string} day
 * @param {Intl.DateTimeFormatOptions} options
 */
export function dayLabel(day, options) {
  const instant = Date.parse(day.length === 7 ? `${day}-01` : day);
  return Number.isNaN(instant)
    ? day
    : new Intl.DateTimeFormat("en", { timeZone: "UTC", ...options }).format(instant);
}

/** The time zones that this browser knows, the current one first. */
export function zones() {
  const all = Intl.supportedValuesOf("timeZone");
  return [...new Set([browserZone(), "UTC", ...all])];
}

export function browserZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}
