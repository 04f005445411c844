//! The flags of `export`.

use super::flags::Flag;
use super::serve_flags;

/// The flags of `export` that no other command has.
pub(super) const FLAGS: &[Flag] = &[
    Flag::many("agent", "UUID", "Agents to export: UUIDs, with commas or by repeating the flag, or all")
        .on_command_line_only(),
    Flag::optional("output", "FILE", "File to write, or - for standard output").on_command_line_only(),
    Flag::optional(
        "format",
        "FORMAT",
        "ndjson, csv or json. The default is what the file's name ends with, else ndjson",
    )
    .on_command_line_only(),
    Flag::switch("excel", "false", "Write a table for Excel: UTF-16 with tabs; phone numbers stay text")
        .on_command_line_only(),
    Flag::optional("from", "TIME", "Oldest creation time: a date, or RFC 3339").on_command_line_only(),
    Flag::optional("to", "TIME", "Newest creation time: a date, or RFC 3339").on_command_line_only(),
    Flag::optional("time-zone", "ZONE", "Zone of dates, such as Asia/Kolkata; UTC without it")
        .on_command_line_only(),
    Flag::many("status", "STATUS", "Only executions in one of these, with commas or by repeating the flag")
        .on_command_line_only(),
    Flag::optional("call-type", "TYPE", "Only inbound or only outbound calls").on_command_line_only(),
    Flag::optional("provider", "NAME", "Only calls of this telephony provider").on_command_line_only(),
    Flag::optional(
        "answered-by-voice-mail",
        "true|false",
        "Only calls that a voice mail answered, or did not",
    )
    .on_command_line_only(),
    Flag::optional("batch-id", "ID", "Only calls of this batch").on_command_line_only(),
    Flag::many(
        "fields",
        "PATHS",
        "Only these values of each execution, such as id,status; for a table, its columns",
    )
    .on_command_line_only(),
    Flag::many("omit", "PATHS", "Everything except these values; not for tables").on_command_line_only(),
    Flag::optional("limit", "N", "Only the newest N executions of each agent").on_command_line_only(),
    Flag::optional("gateway", "URL", "Gateway to read from. Without one, upstream is read by this process"),
    Flag::optional("token-file", "FILE", "With --gateway: file with the caller's token or upstream key"),
    Flag::optional(
        "cursor-file",
        "FILE",
        "With --gateway: write only what changed since the run that wrote this file, as NDJSON into a new file",
    )
    .on_command_line_only(),
    Flag::switch(
        "gateway-insecure",
        "false",
        "Allow the token over plain http to a gateway that is not on loopback",
    ),
    Flag::new(
        "progress",
        "WHEN",
        "auto",
        "Show progress on stderr: auto, always (also if rows go to the same terminal) or never",
    )
    .on_command_line_only(),
];

/// Those of `serve` that matter to an export that reads upstream itself.
pub(super) const ENGINE: [&str; 23] = [
    "upstream-url",
    "upstream-insecure",
    "upstream-ca-file",
    "upstream-key-file",
    "fan-out",
    "upstream-concurrency",
    "upstream-rate",
    "replicas",
    "budget-patience",
    "upstream-timeout",
    "request-deadline",
    "window",
    "history-start",
    "commit-lag",
    "cache-bytes",
    "tier-url",
    "tier-secret-file",
    "tier-bytes",
    "tier-user",
    "tier-password-file",
    "tier-ca-file",
    "tier-insecure",
    "tier-timeout",
];

/// What the help ends with about exit codes.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 the file is complete; 1 it is not, and stderr says why; 64 bad settings, all listed on stderr; \
130 or 143 ended by SIGINT, or by SIGTERM or SIGHUP; 141 the reader of standard output is gone.";

/// What an export caches by default, the least that `serve` takes: rows are written once, so only those on their way are needed.
const CACHE: &str = "16MiB";

/// How many pages are in flight by default. Each takes some 8 MiB while it is decoded, compressed and written; four use up
/// 450 requests a minute if upstream responds within half a second.
const PAGES: &str = "4";

/// What an export logs by default: stderr shows its progress.
const LOG: &str = "error";

/// All flags of `export`.
pub(super) fn flags() -> Vec<Flag> {
    let engine =
        serve_flags::FLAGS.iter().filter(|flag| ENGINE.contains(&flag.name)).map(|flag| match flag.name {
            "cache-bytes" => flag.with_default(CACHE),
            "fan-out" | "upstream-concurrency" => flag.with_default(PAGES),
            _ => *flag,
        });
    let log = [serve_flags::LOG.with_default(LOG), serve_flags::LOG_FORMAT];
    FLAGS.iter().copied().chain(engine).chain(log).collect()
}
