use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, Caller, Credential, Filters, Statuses, Timestamp};
use crate::source::Trace;

/// A client's request in canonical form.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks: whose share of the budget is used.
    pub caller: Caller,
    /// With which credential upstream is asked; nothing known under another one is looked at.
    pub credential: Credential,
    /// Whose executions.
    pub agent: AgentId,
    /// Which of them.
    pub filters: Filters,
    /// Only rows in one of these, for more than one status: then `filters` has none. They are picked from what is known
    /// without a status. A row that changes its status between two reads would be lost or doubled in a union of lists
    /// that upstream filtered.
    pub any_status: Option<Statuses>,
    /// Since when; none means since the agent exists.
    pub from: Option<Timestamp>,
    /// Until when; none, or an instant to come, means now.
    pub to: Option<Timestamp>,
    /// Only some of the newest rows; none means all. No more is read than these need.
    pub newest: Option<Newest>,
    /// What the caller wishes of the cache.
    pub directives: CacheDirectives,
    /// Whether an answer may leave a part out.
    pub tolerance: Tolerance,
    /// Whether the answer is wanted whole or as it comes.
    pub mode: ResponseMode,
    /// What is needed of rows that are known. Of an answer that is not collected facts suffice only if nothing has to be read:
    /// see [`Answer::with_bytes`](super::super::Answer::with_bytes).
    pub need: RowNeed,
    /// The caller's trace.
    pub trace: Trace,
}

/// Some of a question's rows, counted from the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// How many are left out first.
    pub skip: u64,
    /// How many are wanted, at most.
    pub take: u64,
}

impl Newest {
    /// The number of the first row that is not wanted any more.
    pub(in crate::engine) const fn end(self) -> u64 {
        self.skip.saturating_add(self.take)
    }

    /// Whether the row with this number, counted from zero, is wanted.
    pub(in crate::engine) const fn has(self, number: u64) -> bool {
        self.skip <= number && number < self.end()
    }
}

/// A request's `Cache-Control`, by RFC 9111 section 5.2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheDirectives {
    /// `max-age`, and `no-cache` as one second: lowers the live and the settling time to live.
    pub max_age: Option<Duration>,
    /// `no-store`: keep nothing new of this answer.
    pub no_store: bool,
    /// `only-if-cached`: read nothing.
    pub only_if_cached: bool,
    /// `max-stale`: an answer this long past its freshness will do. Without a value: however long.
    pub max_stale: Option<Duration>,
    /// `min-fresh`: the answer must stay fresh for this long.
    pub min_fresh: Option<Duration>,
}

impl CacheDirectives {
    /// How long past its freshness an answer may be given at once, where the settings allow so much. Who says how fresh
    /// it must be means no stale one, unless that is said as well (RFC 9111 section 5.2.1.1).
    pub(in crate::engine) fn may_be_stale_for(&self, by_settings: Duration) -> Duration {
        let is_strict = self.max_age.is_some() || self.min_fresh.is_some();
        let by_settings = if is_strict { Duration::ZERO } else { by_settings };
        by_settings.max(self.max_stale.unwrap_or_default())
    }
}

/// Whether an answer may leave a part out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// All or nothing.
    Strict,
    /// What could not be had is named in the verdict (`Prefer: handling=lenient`).
    Lenient,
}

impl Tolerance {
    /// Whether an answer may leave a part out.
    pub(in crate::engine) const fn is_lenient(self) -> bool {
        matches!(self, Self::Lenient)
    }
}

/// What a question needs of rows that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNeed {
    /// Their bytes: a row whose bytes are gone is read again.
    Bytes,
    /// What the index says of them.
    Facts,
}

/// How an answer reaches the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// Whole, by this instant.
    Collected {
        /// When it must be whole.
        deadline: Instant,
    },
    /// Whole, by this instant, for a client that gives up after some ten seconds: it is refused rather than made to wait
    /// longer than that for the budget.
    Paged {
        /// When it must be whole.
        deadline: Instant,
    },
    /// Whole, by this instant, while rows are let go as soon as something smaller is made of them. They are not counted as
    /// memory of the response.
    Condensed {
        /// When it must be whole.
        deadline: Instant,
    },
    /// As it comes, read no further ahead than the fan-out; waits for the budget are not counted.
    Streamed {
        /// The longest wait for the next row.
        row_wait: Duration,
    },
}
