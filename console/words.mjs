// Numbers, times and statuses as people read them.

const COUNT = new Intl.NumberFormat("en");
const SHARE = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const DOLLARS = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const SMALL_DOLLARS = new Intl.NumberFormat("en", {
  style: "currency",
  currency: "USD",
  minimumFractionDigits: 4,
});
const HOURS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Statuses in which a call is over. `call-disconnected` is not one: `completed` follows. */
const TERMINAL = new Set([
  "completed",
  "no-answer",
  "busy",
  "failed",
  "canceled",
  "stopped",
  "error",
  "balance-low",
]);
/** Terminal statuses of calls that went wrong. */
const FAILED = new Set(["failed", "error", "balance-low"]);

/** @param {string | null} status */
export const isUnderWay = (status) => status === null || !TERMINAL.has(status);
/** @param {string | null} status */
export const isFailure = (status) => status !== null && FAILED.has(status);

/** @param {number} number */
export const count = (number) => COUNT.format(number);

/**
 * A number of things.
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export const countOf = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/**
 * A part of a whole; a dash if there is no whole.
 * @param {number} part
 * @param {number} whole
 */
export const share = (part, whole) => (whole > 0 ? SHARE.format(part / whole) : "–");

/**
 * Cents as dollars, rounded once. The text is formatted exactly, whatever its length.
 * @param {import("./decimal.mjs").Decimal | number} cents
 */
export const dollars = (cents) => DOLLARS.format(/** @type {any} */ (`${cents}E-2`));

/** Dollars and parts of a cent, for single calls. @param {number} cents */
export const preciseDollars = (cents) => (cents === 0 ? "$0" : SMALL_DOLLARS.format(cents / 100));

/** @param {number} seconds */
export function talkTime(seconds) {
  if (seconds < 3_600) return `${HOURS.format(seconds / 60)} min`;
  return `${HOURS.format(seconds / 3_600)} h`;
}

/** The length of one call. @param {number} seconds */
export function callLength(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A time that has gone by. @param {number} seconds */
export function ago(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7_200) return `${Math.round(whole / 60)} min`;
  return whole < 172_800 ? `${Math.round(whole / 3_600)} h` : `${Math.round(whole / 86_400)} days`;
}

/** Formats of instants by zone: making one takes longer than using it for a table of rows. */
const CLOCKS = new Map();

/**
 * Formats instants in a zone: 2026-11-01 14:05:09.
 * @param {string} zone
 * @returns {(instant: number) => string}
 */
export function clock(zone) {
  if (!CLOCKS.has(zone)) {
    CLOCKS.set(
      zone,
      new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }),
    );
  }
  return (instant) => (Number.isNaN(instant) ? "" : CLOCKS.get(zone).format(instant));
}

/**
 * Upstream's instants have no offset when they mean UTC.
 * @param {unknown} text
 */
export function instantOf(text) {
  if (typeof text !== "string") return NaN;
  return Date.parse(/(z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`);
}

/** Text as a sentence: details of problems begin with a small letter. @param {string} text */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return text === "" || /[.!?…]$/.test(text) ? begun : `${begun}.`;
}

/** Text of upstream's for people: anything but a string is no text. @param {unknown} value */
export const textOf = (value) => (typeof value === "string" ? value : "");

/** A link of upstream's, if it is one to a web page and not to a script. @param {unknown} value */
export function webLink(value) {
  if (typeof value !== "string") return null;
  try {
    const url = new URL(value);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
