//! The flags of `serve`, and the two that every command which runs on has.

use super::flags::Flag;

/// The flags of `serve`, in the order of the help text.
pub(super) const FLAGS: &[Flag] = &[
    Flag::new("listen", "ADDRESS", "0.0.0.0:8080", "Public listener (HTTP/1.1 and h2c)"),
    Flag::new(
        "admin-listen",
        "ADDRESS",
        "0.0.0.0:9090",
        "Listener for probes, metrics and purge; keep it private",
    ),
    Flag::new("upstream-url", "URL", "https://api.bolna.ai", "Where upstream is"),
    Flag::switch(
        "upstream-insecure",
        "false",
        "Let credentials go over plain http to an upstream that is not on loopback",
    ),
    Flag::optional(
        "upstream-ca-file",
        "FILE",
        "More trusted roots, PEM; the usual proxy variables are honored",
    ),
    Flag::optional(
        "upstream-key-file",
        "FILE",
        "File with the upstream key: the gateway holds it, callers carry tokens; re-read when it changes",
    ),
    Flag::optional(
        "client-tokens-file",
        "FILE",
        "The callers' tokens, one a line, see `fanfold token new`; re-read when it changes",
    ),
    Flag::optional(
        "forward",
        "PATHS",
        "Which of upstream's other paths are passed on: none, reads (GET and HEAD) or all; without it all, or reads where the gateway holds the key",
    ),
    Flag::new("fan-out", "N", "8", "Pages in flight for one answer"),
    Flag::new("upstream-concurrency", "N", "32", "Pages in flight for the process"),
    Flag::new(
        "upstream-rate",
        "RATE",
        "450/min",
        "Requests in any span of that length (N/s, N/min); 0 = no limit",
    ),
    Flag::new(
        "rate-scope",
        "SCOPE",
        "shared",
        "One budget for the process (shared; upstream counts per organization), or one per credential (credential)",
    ),
    Flag::new(
        "refresh-reserve",
        "SHARE",
        "20%",
        "The part of the budget (N%) that cold reads leave to refreshes",
    ),
    Flag::new(
        "budget-patience",
        "LENGTH",
        "3m",
        "How long a stream that has begun waits for the budget without getting a page before it ends",
    ),
    Flag::new("upstream-timeout", "LENGTH", "15s", "Longest wait for one attempt upstream"),
    Flag::new(
        "request-deadline",
        "LENGTH",
        "50s",
        "Longest wait for a JSON response and for each row of a stream that does not wait for the budget; `Prefer: wait=N` lowers it",
    ),
    Flag::new(
        "window",
        "LENGTH",
        "7d",
        "The widest from–to sent upstream; none for an upstream that takes no dates",
    ),
    Flag::optional(
        "history-start",
        "INSTANT",
        "Where history begins when the agent's own created_at can't be had (RFC 3339)",
    ),
    Flag::new("cache-bytes", "BYTES", "512MiB", "Bytes held by the cache, bookkeeping included"),
    Flag::new("live-ttl", "LENGTH", "10s", "How old a row of a call under way may get; 0s = always due"),
    Flag::new(
        "settling-ttl",
        "LENGTH",
        "2m",
        "How old a row may get that was terminal lately; 0s = always due",
    ),
    Flag::new(
        "settled-ttl",
        "LENGTH",
        "24h",
        "How old a row that has come to rest should get; 0s = always due",
    ),
    Flag::new(
        "settle-after",
        "LENGTH",
        "3h",
        "How long after its last change a terminal row has come to rest",
    ),
    Flag::new("commit-lag", "LENGTH", "10s", "How late upstream may show a row after its created_at"),
    Flag::new(
        "stale-while-revalidate",
        "LENGTH",
        "0s",
        "How long past its freshness an answer may be given at once while it is renewed behind it",
    ),
    Flag::new(
        "stale-if-error",
        "LENGTH",
        "1h",
        "How long past its freshness an answer may be given while upstream fails",
    ),
    Flag::new("max-json-bytes", "BYTES", "256MiB", "The largest collected answer"),
    Flag::new("max-questions", "N", "1024", "Responses under way; more are refused as overloaded"),
    Flag::new("stall-timeout", "LENGTH", "60s", "A client that takes nothing for this long is cut off"),
    Flag::new(
        "drain-delay",
        "LENGTH",
        "5s",
        "After SIGTERM: how long the listener stays open while readiness is off",
    ),
    Flag::new("drain-timeout", "LENGTH", "30s", "After that: how long running answers may take to finish"),
    Flag::many(
        "cors-origin",
        "ORIGIN",
        "An allowed browser origin, repeatable; with commas in the environment",
    ),
    LOG,
    LOG_FORMAT,
    Flag::switch("check", "false", "Check the settings and the files they name, and exit"),
];

/// Which log lines are written; every command that runs on has it.
pub(super) const LOG: Flag =
    Flag::new("log", "FILTER", "info", "Log lines: a level, or target=level and commas");

/// How log lines are written; every command that runs on has it.
pub(super) const LOG_FORMAT: Flag =
    Flag::optional("log-format", "FORMAT", "text or json; without it text on a terminal, else json");
