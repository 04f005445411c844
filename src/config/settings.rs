//! The settings of `serve` as types. [`super::serve`] reads them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::engine::EngineSettings;
use crate::http::Forwarding;
use crate::replicas::ServerSettings;
use crate::telemetry::{LogFormat, TraceSettings};
use crate::upstream::{Fraction, Rate, RateScope};

/// The settings of `serve`.
#[derive(Clone, Debug)]
pub struct Serve {
    /// What to do with the settings.
    pub purpose: ServeMode,
    /// Where to listen.
    pub listeners: ListenSettings,
    /// How upstream is reached.
    pub upstream: ConnectionSettings,
    /// How many requests may be sent upstream.
    pub budget: BudgetSettings,
    /// How upstream is read, and how old rows may get.
    pub reading: EngineSettings,
    /// The most bytes that the cache holds, bookkeeping included.
    pub cache_bytes: u64,
    /// Where rows are kept outside this process, if anywhere.
    pub tier: Option<TierSettings>,
    /// How requests are answered.
    pub answers: ResponseSettings,
    /// How the process stops.
    pub stopping: StopSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Where traces are sent, if anywhere.
    pub traces: Option<TraceSettings>,
    /// The effective settings by flag, as they were given. Contains no secret, because secrets come from files.
    pub effective: Vec<(&'static str, String)>,
    /// Settings that are allowed but probably not intended.
    pub warnings: Vec<String>,
}

/// What the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeMode {
    /// Running the gateway.
    Run,
    /// Only a check.
    Check,
}

/// The addresses to listen on.
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
    /// The base URL, without user, query and fragment.
    pub url: Url,
    /// Whether credentials may go there over plain http.
    pub is_insecure: bool,
    /// Additional trusted root certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// Who carries the key.
    pub keys: Keys,
    /// The longest wait for one attempt at a page; for a forwarded request, the longest silence.
    pub timeout: Duration,
    /// Which of upstream's other paths are forwarded.
    pub forwarding: Forwarding,
}

/// Who carries the upstream key.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Each caller carries its own key.
    PassedThrough,
    /// The gateway holds the key; callers carry tokens.
    Held {
        /// The key.
        key_file: PathBuf,
        /// The callers' tokens.
        tokens_file: PathBuf,
    },
}

/// How many requests may be sent upstream.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSettings {
    /// The most pages in flight for the process.
    pub concurrency: usize,
    /// The most requests in any period of some length; `None` for no limit.
    pub rate: Option<Rate>,
    /// How many processes share the rate.
    pub replicas: usize,
    /// Whether all credentials share one budget or each has its own.
    pub scope: RateScope,
    /// The part of the budget that first reads leave to refreshes.
    pub refresh_reserve: Fraction,
}

/// Where rows are kept outside this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierSettings {
    /// The place.
    pub place: TierPlace,
    /// The file with the secret that names and seals what is kept.
    pub secret_file: PathBuf,
}

/// A place that outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierPlace {
    /// A directory on a local disk.
    Directory {
        /// Its path.
        path: PathBuf,
        /// The most bytes that the directory holds.
        bytes: u64,
    },
    /// Redis or Valkey.
    Server(ServerSettings),
}

/// Limits of responses.
#[derive(Clone, Debug)]
pub struct ResponseSettings {
    /// The longest wait for a collected response, and for each row of a stream except while it waits for the budget.
    pub request_deadline: Duration,
    /// The largest collected response, in bytes as sent.
    pub max_json_bytes: u64,
    /// The most responses in progress.
    pub max_questions: usize,
    /// The most bytes of change logs in memory.
    pub cursor_bytes: u64,
    /// The allowed browser origins, as browsers send them; `*` for any.
    pub cors_origins: Vec<String>,
    /// Whether the console is served.
    pub has_console: bool,
}

/// How the process stops, and which clients it cuts off.
#[derive(Clone, Copy, Debug)]
pub struct StopSettings {
    /// How long a client may read nothing before it is cut off.
    pub stall_timeout: Duration,
    /// How long the listener stays open while readiness fails.
    pub drain_delay: Duration,
    /// How long running responses may then take to finish.
    pub drain_timeout: Duration,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which lines are written, in the syntax of `tracing_subscriber::EnvFilter`; already validated.
    pub filter: String,
    /// The format of lines; `None` for text on a terminal and JSON otherwise.
    pub format: Option<LogFormat>,
}
