// Exact decimals: sums of money come from the gateway exact and are not allowed to lose digits here.

const PLACES = 12;

/**
 * A decimal as its digits, as JSON wrote them.
 * @typedef {string} Decimal
 */

/**
 * Parses JSON, keeping every number as the text that stands there.
 *
 * A browser that does not hand that text to revivers yet gives the shortest text of the same double.
 * @param {string} text
 */
export function parseWithDecimals(text) {
  /** @type {(this: any, key: string, value: unknown, context?: { source?: string }) => unknown} */
  const keepText = (_key, value, context) =>
    typeof value === "number" ? (context?.source ?? String(value)) : value;
  return JSON.parse(text, keepText);
}

/**
 * The exact sum of decimals without exponents and with at most 12 places.
 * @param {Iterable<Decimal>} decimals
 * @returns {Decimal}
 */
export function sum(decimals) {
  let total = 0n;
  for (const decimal of decimals) total += scaled(decimal);
  const digits = (total < 0n ? -total : total).toString().padStart(PLACES + 1, "0");
  const fraction = digits.slice(-PLACES).replace(/0+$/, "");
  return `${total < 0n ? "-" : ""}${digits.slice(0, -PLACES)}${fraction && `.${fraction}`}`;
}

/** @param {Decimal} decimal */
function scaled(decimal) {
  const [whole = "0", fraction = ""] = decimal.split(".");
  return BigInt(whole + fraction.slice(0, PLACES).padEnd(PLACES, "0"));
}
