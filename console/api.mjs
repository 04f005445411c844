// Requests to the gateway that serves this page. URLs are relative to this module, so a path prefix in front of the
// gateway is kept. The key travels in a header only.

import { getKey } from "./key.mjs";

const BASE = new URL("../", import.meta.url);

/** Longer than the gateway takes anything for fresh, so it asks for nothing more recent. */
const ANY_FRESH = "max-age=2592000";

/** A response that is no success: a problem document, or what stands in for one. */
export class Problem extends Error {
  /**
   * @param {string} detail
   * @param {{ status?: number, code?: string, requestId?: string | null, retryAfter?: number | null }} [more]
   */
  constructor(detail, { status = 0, code = "", requestId = null, retryAfter = null } = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    /** Seconds. */
    this.retryAfter = retryAfter;
  }
}

/**
 * Sends a request.
 * @param {string} path relative to the gateway's root
 * @param {{ signal: AbortSignal, etag?: string | null, prefer?: string, isForced?: boolean }} options `isForced`: recent
 *   calls are to be read again, also if the gateway takes them for fresh
 * @returns {Promise<Response>} a success, or 304
 * @throws {Problem}
 */
export async function get(path, { signal, etag, prefer, isForced = false }) {
  const headers = new Headers({ Authorization: `Bearer ${getKey() ?? ""}` });
  if (etag) headers.set("If-None-Match", etag);
  if (prefer) headers.set("Prefer", prefer);
  // Without it, some browsers say `no-cache` with every request, because of `no-store` below.
  headers.set("Cache-Control", isForced ? "no-cache" : ANY_FRESH);
  let response;
  try {
    // Rows never go into the browser's cache on disk.
    response = await fetch(new URL(path, BASE), {
      headers,
      signal,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      redirect: "error",
    });
  } catch (error) {
    throw signal.aborted ? error : new Problem("The gateway can't be reached.", { code: "unreachable" });
  }
  if (response.ok || response.status === 304) return response;
  throw await problemOf(response);
}

/** @param {Response} response */
async function problemOf(response) {
  const { status, headers } = response;
  const wait = Number(headers.get("Retry-After"));
  const more = { status, requestId: headers.get("X-Request-Id"), retryAfter: wait > 0 ? wait : null };
  try {
    const document = await response.json();
    const detail = typeof document.detail === "string" ? document.detail : `HTTP status ${status}`;
    return new Problem(detail, { ...more, code: String(document.code ?? "") });
  } catch {
    // It is not the gateway's but a proxy's.
    return new Problem(`HTTP status ${status}, without an explanation.`, more);
  }
}

/**
 * The lines of a body, as many at a time as have arrived. Only a line feed ends a line.
 * @param {Response} response
 * @returns {AsyncGenerator<string[]>}
 */
export async function* lines(response) {
  const decoder = new TextDecoder();
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const parts = (rest + decoder.decode(value, { stream: !done })).split("\n");
      rest = parts.pop() ?? "";
      yield parts.filter((line) => line !== "");
      if (done) break;
    }
  } finally {
    // A caller that stops early ends the read.
    reader.cancel().catch(() => {});
  }
  if (rest !== "") yield [rest];
}

/**
 * Where a response came from, in words, by its `Cache-Status`.
 * @param {Headers} headers
 * @returns {{ words: string, isStale: boolean }}
 */
export function originOf(headers) {
  const status = headers.get("Cache-Status") ?? "";
  const reason = /reason=([a-z-]+)/.exec(status)?.[1];
  if (status.includes("fwd=stale")) {
    const why = reason === "rate-limited" ? "the request budget is used up" : "upstream is failing";
    return { words: `from the last successful read, because ${why}`, isStale: true };
  }
  if (status.includes("hit")) return { words: "from the cache", isStale: false };
  if (status.includes("fwd=miss")) return { words: "read from upstream", isStale: false };
  return { words: "partly from the cache, partly read from upstream", isStale: false };
}

/**
 * How many seconds old a response was when it was sent.
 * @param {Headers} headers
 * @param {string | null} asOf
 */
export function ageOf(headers, asOf) {
  const sent = Date.parse(headers.get("Date") ?? "");
  const age = Number(headers.get("Age") ?? 0);
  // The gateway's clock on both sides: this machine's may be wrong.
  const since = asOf === null ? NaN : (sent - Date.parse(asOf)) / 1_000;
  return Math.max(0, Number.isNaN(since) ? age : since);
}
