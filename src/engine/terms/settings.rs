use std::time::Duration;

use crate::domain::Timestamp;

/// What the engine is told at start; see the settings of `serve` for each.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Pages in flight for one answer.
    pub fan_out: usize,
    /// How long a stream that has begun waits for the budget without getting a page.
    pub budget_patience: Duration,
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
    /// The most memory of all responses together that are made up in full before they are sent, in bytes.
    pub response_bytes: u64,
    /// The most memory of all change logs, in bytes.
    pub cursor_bytes: u64,
    /// The most bytes kept of relayed pages.
    pub relay_bytes: u64,
}

impl EngineSettings {
    /// The widest span of one reading: without limit where upstream takes no dates, since every reading walks the whole
    /// list there.
    pub(in crate::engine) fn span_width(&self) -> Duration {
        self.window.unwrap_or(UNLIMITED)
    }
}

/// As wide as history.
const UNLIMITED: Duration = Duration::from_hours(24 * 366 * 1_000);
