//! The settings of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::reader::{Reader, read_all};
use super::values::{self, Rate, RateScope, Share};
use super::{checks, faults::Faults, traces::Traces};
use crate::domain::Timestamp;
use crate::telemetry::{LogFormat, TraceSettings};

/// All that `serve` is told.
#[derive(Clone, Debug)]
pub struct Serve {
    /// What to do with it.
    pub purpose: Purpose,
    /// Where to listen.
    pub listeners: Listeners,
    /// How upstream is reached.
    pub upstream: Upstream,
    /// How much is asked of upstream.
    pub budget: Budget,
    /// How upstream is read, and how old what was read may get.
    pub reading: Reading,
    /// Bytes held by the cache, bookkeeping included.
    pub cache_bytes: u64,
    /// How questions are answered.
    pub answers: Answers,
    /// How the process stops.
    pub stopping: Stopping,
    /// What is logged.
    pub log: Log,
    /// Where traces go; none if nowhere.
    pub traces: Option<TraceSettings>,
    /// What is in force, by flag, as it was written. Holds no secret: those come from files.
    pub effective: Vec<(&'static str, String)>,
    /// What is allowed but unlikely to be meant.
    pub warnings: Vec<String>,
}

/// What the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run with them.
    Run,
    /// To check them.
    Check,
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// For callers.
    pub public: SocketAddr,
    /// For probes, metrics and purge.
    pub admin: SocketAddr,
}

/// How upstream is reached.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it is. Without user, query and fragment.
    pub url: Url,
    /// Whether credentials may go there over plain http.
    pub is_insecure: bool,
    /// More trusted roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// Who carries the key.
    pub keys: Keys,
    /// Longest wait for one attempt.
    pub timeout: Duration,
}

/// Who carries the upstream key.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Each caller its own.
    PassedThrough,
    /// The gateway; callers carry tokens.
    Held {
        /// The key.
        key_file: PathBuf,
        /// The callers' tokens.
        tokens_file: PathBuf,
    },
}

/// How much is asked of upstream.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Pages in flight for the process.
    pub concurrency: usize,
    /// Requests in any span of a length; none for no limit.
    pub rate: Option<Rate>,
    /// One budget for whom.
    pub scope: RateScope,
    /// The part that cold reads leave to refreshes.
    pub refresh_reserve: Share,
}

/// How upstream is read, and how old what was read may get.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Pages in flight for one answer.
    pub fan_out: usize,
    /// The widest span asked of upstream; none for an upstream that takes no dates.
    pub window: Option<Duration>,
    /// Where history begins when the agent's own `created_at` can't be had.
    pub history_start: Option<Timestamp>,
    /// How old a row that may change any moment may get.
    pub live_ttl: Duration,
    /// How old a row that was terminal lately may get.
    pub settling_ttl: Duration,
    /// How old a row that has come to rest should get.
    pub settled_ttl: Duration,
    /// How long after its last change a terminal row has come to rest.
    pub settle_after: Duration,
    /// How late upstream may show a row after its `created_at`.
    pub commit_lag: Duration,
    /// How long past its freshness an answer may be given while it is renewed behind it.
    pub stale_while_revalidate: Duration,
    /// How long past its freshness an answer may be given while upstream fails.
    pub stale_if_error: Duration,
}

/// How questions are answered.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Longest wait for a collected answer, and for the next row of a stream.
    pub request_deadline: Duration,
    /// The largest collected answer.
    pub max_json_bytes: u64,
    /// Answers under way.
    pub max_questions: usize,
    /// Allowed browser origins, as browsers write them; `*` for any.
    pub cors_origins: Vec<String>,
}

/// How the process stops, and whom it cuts off.
#[derive(Clone, Copy, Debug)]
pub struct Stopping {
    /// A client that takes nothing for this long is cut off.
    pub stall_timeout: Duration,
    /// How long the listener stays open while readiness is off.
    pub drain_delay: Duration,
    /// How long running answers may then take to finish.
    pub drain_timeout: Duration,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which lines, in the syntax of `tracing_subscriber::EnvFilter`; readable.
    pub filter: String,
    /// In which form; without one, by whether somebody watches.
    pub format: Option<LogFormat>,
}

/// Reads the log's two settings.
pub(super) fn log(read: &mut Reader) -> Option<Log> {
    read_all!(
        read,
        Log { filter: one("log", values::log_filter), format: optional("log-format", values::log_format) }
    )
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: Reader, traces: Traces) -> Result<Serve, Faults> {
    let read = &mut reader;
    let listeners = read_all!(
        read,
        Listeners { public: one("listen", values::address), admin: one("admin-listen", values::address) }
    );
    let upstream = upstream(read);
    let budget = read_all!(
        read,
        Budget {
            concurrency: one("upstream-concurrency", values::count),
            rate: one("upstream-rate", values::rate),
            scope: one("rate-scope", values::rate_scope),
            refresh_reserve: one("refresh-reserve", values::share),
        }
    );
    let reading = read_all!(
        read,
        Reading {
            fan_out: one("fan-out", values::count),
            window: one("window", values::window),
            history_start: optional("history-start", values::instant),
            live_ttl: one("live-ttl", values::length_or_zero),
            settling_ttl: one("settling-ttl", values::length_or_zero),
            settled_ttl: one("settled-ttl", values::length_or_zero),
            settle_after: one("settle-after", values::length_or_zero),
            commit_lag: one("commit-lag", values::length_or_zero),
            stale_while_revalidate: one("stale-while-revalidate", values::length_or_zero),
            stale_if_error: one("stale-if-error", values::length_or_zero),
        }
    );
    let cache_bytes = read.one("cache-bytes", values::bytes);
    let answers = read_all!(
        read,
        Answers {
            request_deadline: one("request-deadline", values::length),
            max_json_bytes: one("max-json-bytes", values::bytes),
            max_questions: one("max-questions", values::count),
            cors_origins: many("cors-origin", values::origin),
        }
    );
    let stopping = read_all!(
        read,
        Stopping {
            stall_timeout: one("stall-timeout", values::length),
            drain_delay: one("drain-delay", values::length_or_zero),
            drain_timeout: one("drain-timeout", values::length_or_zero),
        }
    );
    let log = log(read);
    let purpose =
        read.one("check", values::switch).map(|check| if check { Purpose::Check } else { Purpose::Run });

    let Traces { settings: traces, mut warnings } = traces;
    checks::ports(read, listeners.as_ref());
    checks::cache(read, cache_bytes);
    checks::freshness(&mut warnings, reading.as_ref());
    checks::parallelism(&mut warnings, reading.as_ref(), budget.as_ref());
    checks::deadlines(&mut warnings, upstream.as_ref(), answers.as_ref());

    let mut effective = read.effective();
    if let Some(traces) = &traces {
        effective.push(("otlp-traces", traces.endpoint.to_string()));
    }
    let serve = Some(()).and_then(|()| {
        Some(Serve {
            purpose: purpose?,
            listeners: listeners?,
            upstream: upstream?,
            budget: budget?,
            reading: reading?,
            cache_bytes: cache_bytes?,
            answers: answers?,
            stopping: stopping?,
            log: log?,
            traces,
            effective,
            warnings,
        })
    });
    reader.finish(serve)
}

fn upstream(read: &mut Reader) -> Option<Upstream> {
    let url = read.one("upstream-url", values::url);
    let is_insecure = read.one("upstream-insecure", values::switch);
    let ca_file = read.optional("upstream-ca-file", values::file);
    let timeout = read.one("upstream-timeout", values::length);
    let key_file = read.optional("upstream-key-file", values::file);
    let tokens_file = read.optional("client-tokens-file", values::file);
    if is_insecure == Some(false) {
        checks::credentials_stay_private(read, url.as_ref());
    }
    if let Some(Some(file)) = &ca_file {
        checks::readable(read, "upstream-ca-file", file);
    }
    let keys = checks::keys(read, key_file?, tokens_file?);
    Some(Upstream { url: url?, is_insecure: is_insecure?, ca_file: ca_file?, keys: keys?, timeout: timeout? })
}
