//! What the settings of `serve` come to, as types. [`super::serve`] reads them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::domain::Timestamp;
use crate::http::Forwarding;
use crate::telemetry::{LogFormat, TraceSettings};
use crate::upstream::{Fraction, Rate, RateScope};

/// All that `serve` is told.
#[derive(Clone, Debug)]
pub struct Serve {
    /// What to do with it.
    pub purpose: ServeMode,
    /// Where to listen.
    pub listeners: ListenSettings,
    /// How upstream is reached.
    pub upstream: ConnectionSettings,
    /// How much is asked of upstream.
    pub budget: BudgetSettings,
    /// How upstream is read, and how old what was read may get.
    pub reading: ReadSettings,
    /// Bytes held by the cache, bookkeeping included.
    pub cache_bytes: u64,
    /// How questions are answered.
    pub answers: ResponseSettings,
    /// How the process stops.
    pub stopping: StopSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Where traces go; none if nowhere.
    pub traces: Option<TraceSettings>,
    /// What is in force, by flag, as it was written. Holds no secret: those come from files.
    pub effective: Vec<(&'static str, String)>,
    /// What is allowed but unlikely to be meant.
    pub warnings: Vec<String>,
}

/// What the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeMode {
    /// To run with them.
    Run,
    /// To check them.
    Check,
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenSettings {
    /// For callers.
    pub public: SocketAddr,
    /// For probes, metrics and purge.
    pub admin: SocketAddr,
}

/// How upstream is reached.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
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
    /// Which of its other paths are passed on.
    pub forwarding: Forwarding,
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
pub struct BudgetSettings {
    /// Pages in flight for the process.
    pub concurrency: usize,
    /// Requests in any span of a length; none for no limit.
    pub rate: Option<Rate>,
    /// One budget for whom.
    pub scope: RateScope,
    /// The part that cold reads leave to refreshes.
    pub refresh_reserve: Fraction,
    /// How long a stream that has begun waits for the budget without getting a page.
    pub patience: Duration,
}

/// How upstream is read, and how old what was read may get.
#[derive(Clone, Copy, Debug)]
pub struct ReadSettings {
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
pub struct ResponseSettings {
    /// Longest wait for a collected answer, and for each row of a stream that does not wait for the budget.
    pub request_deadline: Duration,
    /// The largest collected answer.
    pub max_json_bytes: u64,
    /// Responses under way.
    pub max_questions: usize,
    /// Allowed browser origins, as browsers write them; `*` for any.
    pub cors_origins: Vec<String>,
}

/// How the process stops, and whom it cuts off.
#[derive(Clone, Copy, Debug)]
pub struct StopSettings {
    /// A client that takes nothing for this long is cut off.
    pub stall_timeout: Duration,
    /// How long the listener stays open while readiness is off.
    pub drain_delay: Duration,
    /// How long running answers may then take to finish.
    pub drain_timeout: Duration,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which lines, in the syntax of `tracing_subscriber::EnvFilter`; readable.
    pub filter: String,
    /// In which form; without one, by whether somebody watches.
    pub format: Option<LogFormat>,
}
