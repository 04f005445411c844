// Saves all calls of a view as CSV, as the gateway writes it: complete, or not at all.

import { Problem, get } from "./api.mjs";
import { agentsPath, queryOf } from "./view.mjs";

const QUOTE = 0x22;
const LINE_FEED = 0x0a;

/**
 * @param {import("./view.mjs").View} view
 * @param {string} status only calls with this status; all if empty
 * @returns {Promise<number>} how many calls the file has
 * @throws {Problem}
 */
export async function downloadCsv(view, status) {
  const query = queryOf(view);
  query.set("format", "csv");
  if (status) query.set("status", status);
  const response = await get(`${agentsPath(view)}/all?${query}`, { signal: AbortSignal.timeout(600_000) });
  const body = await response.arrayBuffer().catch(() => {
    throw new Problem("the connection broke.");
  });
  const bytes = new Uint8Array(body);
  const rows = records(bytes) - 1;
  const promised = Number(response.headers.get("X-Total-Count") ?? rows);
  // A proxy that compresses again takes away the length by which a browser notices a file that was cut off.
  if (rows !== promised) throw new Problem(`the connection broke after ${rows} of ${promised} calls.`);
  const name =
    /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "executions.csv";
  const address = URL.createObjectURL(new Blob([bytes], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The download has begun by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return rows;
}

/** The lines of a file, those inside quotes not counted. @param {Uint8Array} bytes */
function records(bytes) {
  let lines = 0;
  let isQuoted = false;
  for (const byte of bytes) {
    if (byte === QUOTE) isQuoted = !isQuoted;
    else if (byte === LINE_FEED && !isQuoted) lines += 1;
  }
  return lines;
}
