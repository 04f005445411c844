//! The flags of `export`.

use super::flags::Flag;
use super::serve_flags;

/// The flags of `export` that also have variables.
pub(super) const FLAGS: &[Flag] = &[
    Flag::optional("gateway", "URL", "Gateway to read from. Without one, upstream is read by this process"),
    Flag::optional("token-file", "FILE", "With --gateway: file with the caller's token or upstream key"),
    Flag::switch(
        "gateway-insecure",
        "false",
        "Allow the token over plain http to a gateway that is not on loopback",
    ),
];

/// The flags of `export` that apply to a single run and have no variables.
const RUN_FLAGS: &[Flag] = &[
    Flag::many("agent", "UUID", "Agents to export: UUIDs, with commas or by repeating the flag, or all"),
    Flag::optional("output", "FILE", "File to write, or - for standard output"),
    Flag::optional(
        "format",
        "FORMAT",
        "ndjson, csv or json. The default follows from the end of the file's name; otherwise it is ndjson",
    ),
    Flag::switch("excel", "false", "Write a table for Excel: UTF-16 with tabs; phone numbers stay text"),
    Flag::optional("from", "TIME", "Oldest creation time: a date, or RFC 3339"),
    Flag::optional("to", "TIME", "Newest creation time: a date, or RFC 3339"),
    Flag::optional("time-zone", "ZONE", "Time zone of dates, such as Asia/Kolkata; the default is UTC"),
    Flag::many(
        "status",
        "STATUS",
        "Only executions with these statuses, with commas or by repeating the flag",
    ),
    Flag::optional("call-type", "TYPE", "Only inbound or only outbound calls"),
    Flag::optional("provider", "NAME", "Only calls of this telephony provider"),
    Flag::optional("answered-by-voice-mail", "true|false", "Only calls that voice mail answered, or did not"),
    Flag::optional("batch-id", "ID", "Only calls of this batch"),
    Flag::many(
        "fields",
        "PATHS",
        "Only these values of each execution, such as id,status; for a table, its columns",
    ),
    Flag::many("omit", "PATHS", "Everything except these values; not for tables"),
    Flag::optional("limit", "N", "Only the newest N executions of each agent"),
    Flag::optional(
        "cursor-file",
        "FILE",
        "With --gateway: write only what changed since the run that wrote this file, as NDJSON into a new file",
    ),
    Flag::new(
        "progress",
        "WHEN",
        "auto",
        "Show progress on stderr: auto, always (also if rows go to the same terminal) or never",
    ),
];

/// The flags of `serve` that also apply to an export that reads upstream itself.
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

/// The end of the help.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 the file is complete; 1 it is not, and stderr says why; 64 bad settings, all listed on stderr; \
130 or 143 ended by SIGINT, or by SIGTERM or SIGHUP; 141 the reader of standard output is gone.";

/// The default size of an export's cache, the smallest that `serve` accepts. Each row is written once, so only rows on their
/// way are held.
const CACHE: &str = "16MiB";

/// The default number of pages in flight. Each takes about 8 MiB while it is decoded, compressed and written. Four use all of
/// 450 requests a minute if upstream responds within half a second.
const PAGES: &str = "4";

/// The default log level of an export, whose stderr shows its progress.
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
    let run = RUN_FLAGS.iter().map(|flag| flag.on_command_line_only());
    run.chain(FLAGS.iter().copied()).chain(engine).chain(log).collect()
}
