use std::time::Duration;

use crate::domain::Timestamp;

/// How upstream is read, and how old rows may get. The flags of `serve` with these names set them.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The most pages in flight for one answer.
    pub fan_out: usize,
    /// How long a stream that has begun waits for the budget without getting a page.
    pub budget_patience: Duration,
    /// The widest span that is requested from upstream; `None` for an upstream that ignores dates.
    pub window: Option<Duration>,
    /// Where history begins if the agent's `created_at` can't be read.
    pub history_start: Option<Timestamp>,
    /// The maximum age of a row of a running call.
    pub live_ttl: Duration,
    /// The maximum age of a row of a recently ended call.
    pub settling_ttl: Duration,
    /// The target for the maximum age of a settled row.
    pub settled_ttl: Duration,
    /// How long after its last change a terminal row counts as settled.
    pub settle_after: Duration,
    /// How long after its `created_at` upstream may first show a row.
    pub commit_lag: Duration,
    /// How long an expired answer may be served while it is refreshed in the background.
    pub stale_while_revalidate: Duration,
    /// How long an expired answer may be served while upstream fails.
    pub stale_if_error: Duration,
}

/// The most bytes of what the engine keeps in memory beside the store.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBounds {
    /// All responses that are completed before they are sent.
    pub responses: u64,
    /// All change logs.
    pub change_logs: u64,
    /// All stored pages of upstream's own.
    pub relayed_pages: u64,
}

impl EngineSettings {
    /// The widest span of one reading. Without limit if upstream ignores dates, because every reading walks
    /// the whole list then.
    pub(in crate::engine) fn span_width(&self) -> Duration {
        self.window.unwrap_or(UNLIMITED)
    }
}

/// As wide as history.
const UNLIMITED: Duration = Duration::from_hours(24 * 366 * 1_000);
