use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, Caller, ColumnId, Credential, Filters, Statuses, Timestamp};
use crate::source::Trace;

/// A client's request in canonical form.
#[derive(Clone, Debug)]
pub struct Question {
    /// The caller, whose share of the budget is used.
    pub caller: Caller,
    /// The credential for upstream; data read with another one is never used.
    pub credential: Credential,
    /// The agent of the executions.
    pub agent: AgentId,
    /// The filters.
    pub filters: Filters,
    /// Only rows in one of these statuses, if there are several; then `filters` has no status. The rows are
    /// selected from data without a status filter: a row that changes its status between two reads would be
    /// lost or repeated in a union of lists that upstream filtered.
    pub any_status: Option<Statuses>,
    /// The earliest `created_at`; `None` for the agent's own.
    pub from: Option<Timestamp>,
    /// The latest `created_at`; `None`, or an instant in the future, for now.
    pub to: Option<Timestamp>,
    /// Only some of the newest rows; `None` for all. No more is read than these need.
    pub newest: Option<Newest>,
    /// The request's `Cache-Control`.
    pub directives: CacheDirectives,
    /// Whether the response may leave parts out.
    pub tolerance: Tolerance,
    /// How the response is delivered.
    pub mode: ResponseMode,
    /// What is needed of known rows. In an answer that is not collected, facts suffice only if nothing has to
    /// be read: see [`Answer::with_bytes`](super::super::Answer::with_bytes).
    pub need: RowNeed,
    /// The caller's trace.
    pub trace: Trace,
}

/// Some of a question's rows, counted from the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// How many rows are skipped first.
    pub skip: u64,
    /// The maximum number of rows.
    pub take: u64,
}

impl Newest {
    /// The number of the first row after them.
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
    /// `max-age`, and `no-cache` as one second: limits the live and the settling time to live.
    pub max_age: Option<Duration>,
    /// `no-store`: nothing new is stored for this answer.
    pub no_store: bool,
    /// `only-if-cached`: nothing is read.
    pub only_if_cached: bool,
    /// `max-stale`: the answer may be this long past its freshness. Without a value: any time.
    pub max_stale: Option<Duration>,
    /// `min-fresh`: the answer must stay fresh for this long.
    pub min_fresh: Option<Duration>,
}

impl CacheDirectives {
    /// How long past its freshness an answer may be served at once, if the settings allow it. A request that
    /// says how fresh the answer must be does not accept a stale one, unless it says that, too (RFC 9111
    /// section 5.2.1.1).
    pub(in crate::engine) fn may_be_stale_for(&self, by_settings: Duration) -> Duration {
        let is_strict = self.max_age.is_some() || self.min_fresh.is_some();
        let by_settings = if is_strict { Duration::ZERO } else { by_settings };
        by_settings.max(self.max_stale.unwrap_or_default())
    }
}

/// Whether an answer may leave parts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// All or nothing.
    Strict,
    /// The verdict names the parts that could not be read (`Prefer: handling=lenient`).
    Lenient,
}

impl Tolerance {
    /// Whether an answer may leave a part out.
    pub(in crate::engine) const fn is_lenient(self) -> bool {
        matches!(self, Self::Lenient)
    }
}

/// What a question needs of known rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNeed {
    /// Their bytes: a row whose bytes were dropped is read again.
    Bytes,
    /// Their facts in the index.
    Facts,
    /// Their facts in the index, and these columns: a row that has neither the columns nor its bytes is read
    /// again.
    Columns(Arc<[ColumnId]>),
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// Complete, by this instant.
    Collected {
        /// The deadline.
        deadline: Instant,
    },
    /// Complete, by this instant, for a client that gives up after about ten seconds: it is refused rather
    /// than made to wait longer than that for the budget.
    Paged {
        /// The deadline.
        deadline: Instant,
    },
    /// Complete, by this instant. Rows are released as soon as something smaller is made of them, and do not
    /// count as memory of the response.
    Condensed {
        /// The deadline.
        deadline: Instant,
    },
    /// As it arrives, read no further ahead than the fan-out. Waits for the budget do not count.
    Streamed {
        /// The longest wait for the next row.
        row_wait: Duration,
    },
}
