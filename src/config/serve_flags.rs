//! The flags of `serve`, and those that other commands share.

use super::flags::Flag;

/// The flags of `serve`, in the order of the help text.
pub(super) const FLAGS: &[Flag] = &[
    Flag::new("listen", "ADDRESS", "0.0.0.0:8080", "Address for callers (HTTP/1.1 and h2c)"),
    Flag::new(
        "admin-listen",
        "ADDRESS",
        "0.0.0.0:9090",
        "Address for probes, metrics and purge; keep it private",
    ),
    Flag::new("upstream-url", "URL", "https://api.bolna.ai", "Base URL of upstream"),
    Flag::switch(
        "upstream-insecure",
        "false",
        "Allow credentials over plain http to an upstream that is not on loopback",
    ),
    Flag::optional(
        "upstream-ca-file",
        "FILE",
        "Additional trusted root certificates (PEM); the usual proxy variables are honored",
    ),
    Flag::optional(
        "upstream-key-file",
        "FILE",
        "File with the upstream key: the gateway holds the key, and callers carry tokens; re-read when it changes",
    ),
    Flag::optional(
        "client-tokens-file",
        "FILE",
        "File with the callers' tokens, one per line (see `fanfold token new`); re-read when it changes",
    ),
    Flag::optional(
        "forward",
        "PATHS",
        "Which of upstream's other paths are forwarded: none, reads (GET and HEAD) or all. The default is all, or reads if the gateway holds the key",
    ),
    Flag::new("fan-out", "N", "8", "Maximum pages in flight for one response"),
    Flag::new("upstream-concurrency", "N", "32", "Maximum pages in flight for the process"),
    Flag::new(
        "upstream-rate",
        "RATE",
        "450/min",
        "Maximum requests to upstream in any span of that length (N/s, N/min); 0 for no limit",
    ),
    Flag::new(
        "replicas",
        "N",
        "1",
        "Number of processes that share --upstream-rate. Without a reachable Redis or Valkey, each uses only its own part",
    ),
    Flag::new(
        "rate-scope",
        "SCOPE",
        "shared",
        "One budget for the process (shared, because upstream counts per organization) or one for each credential (credential)",
    ),
    Flag::new(
        "refresh-reserve",
        "SHARE",
        "20%",
        "Share of the budget (N%) reserved for refreshes; reads of new history don't use it",
    ),
    Flag::new(
        "budget-patience",
        "LENGTH",
        "3m",
        "How long a stream that has begun waits for the budget without getting a page, before it ends",
    ),
    Flag::new("upstream-timeout", "LENGTH", "15s", "Longest wait for one request to upstream"),
    Flag::new(
        "request-deadline",
        "LENGTH",
        "50s",
        "Longest wait for a JSON response, and for each row of a stream except while it waits for the budget; `Prefer: wait=N` lowers it",
    ),
    Flag::new(
        "window",
        "LENGTH",
        "7d",
        "Widest from–to range that is sent upstream; none for an upstream that ignores dates",
    ),
    Flag::optional(
        "history-start",
        "INSTANT",
        "Where history begins if the agent's created_at can't be read (RFC 3339)",
    ),
    Flag::new("cache-bytes", "BYTES", "512MiB", "Maximum size of the cache, bookkeeping included"),
    Flag::optional(
        "tier-url",
        "URL",
        "Where to keep rows outside this process: a directory on a local disk, such as file:///var/lib/fanfold, or Redis or Valkey for several replicas (redis://, rediss://). None: memory only",
    ),
    Flag::optional(
        "tier-secret-file",
        "FILE",
        "With --tier-url: file with the secret that names and seals kept data (the first line seals, all lines open); re-read when it changes",
    ),
    Flag::new(
        "tier-bytes",
        "BYTES",
        "4GiB",
        "Maximum size of the directory; the least recently used data is dropped first",
    ),
    Flag::optional("tier-user", "NAME", "Redis or Valkey: the user, if it is not the default one"),
    Flag::optional(
        "tier-password-file",
        "FILE",
        "Redis or Valkey: file with the password; re-read at each connection",
    ),
    Flag::optional(
        "tier-ca-file",
        "FILE",
        "With rediss://: trusted root certificates (PEM), instead of the system's",
    ),
    Flag::switch("tier-insecure", "false", "Allow redis:// without TLS to a server that is not on loopback"),
    Flag::new("tier-timeout", "LENGTH", "250ms", "Redis or Valkey: longest wait for one command"),
    Flag::new(
        "live-ttl",
        "LENGTH",
        "10s",
        "Maximum age of a row of a running call; 0s refreshes it for every request",
    ),
    Flag::new(
        "settling-ttl",
        "LENGTH",
        "2m",
        "Maximum age of a row of a recently ended call; 0s refreshes it for every request",
    ),
    Flag::new(
        "settled-ttl",
        "LENGTH",
        "24h",
        "Target for the maximum age of a settled row; 0s refreshes it for every request",
    ),
    Flag::new(
        "settle-after",
        "LENGTH",
        "3h",
        "How long after its last change a row of an ended call counts as settled",
    ),
    Flag::new("commit-lag", "LENGTH", "10s", "How long after its created_at a row may first appear upstream"),
    Flag::new(
        "stale-while-revalidate",
        "LENGTH",
        "0s",
        "How long an expired response may be served while it is refreshed in the background",
    ),
    Flag::new(
        "stale-if-error",
        "LENGTH",
        "1h",
        "How long an expired response may be served while upstream fails",
    ),
    Flag::new("max-json-bytes", "BYTES", "256MiB", "Maximum size of a JSON response"),
    Flag::new(
        "max-questions",
        "N",
        "1024",
        "Maximum responses in progress; further requests get 503 overloaded",
    ),
    Flag::new("cursor-bytes", "BYTES", "32MiB", "Maximum memory for the change logs behind /changes"),
    Flag::new("stall-timeout", "LENGTH", "60s", "Cut off a client that reads nothing for this long"),
    Flag::new(
        "drain-delay",
        "LENGTH",
        "5s",
        "After SIGTERM: how long the listener stays open while /readyz fails",
    ),
    Flag::new(
        "drain-timeout",
        "LENGTH",
        "30s",
        "After --drain-delay: how long running responses may take to finish",
    ),
    Flag::many(
        "cors-origin",
        "ORIGIN",
        "Allowed browser origin; repeat the flag, or use commas in the environment",
    ),
    CONSOLE,
    LOG,
    LOG_FORMAT,
    Flag::switch("check", "false", "Validate the settings and the files they name, then exit"),
];

/// Whether the console is served.
pub(super) const CONSOLE: Flag =
    Flag::switch("console", "true", "Serve the console, a page that shows calls, at /console/");

/// Which log lines are written; a flag of every long-running command.
pub(super) const LOG: Flag = Flag::new(
    "log",
    "FILTER",
    "info",
    "Which log lines to write: a level, or target=level separated by commas",
);

/// The format of log lines; a flag of every long-running command.
pub(super) const LOG_FORMAT: Flag =
    Flag::optional("log-format", "FORMAT", "text or json; the default is text on a terminal, json otherwise");
