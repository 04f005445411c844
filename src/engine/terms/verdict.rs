use std::time::Duration;

use crate::domain::{Digest, EntrySlice, Span, Timestamp};
use crate::engine::memory::HeldMemory;
use crate::engine::terms::error::AskError;

/// The age of an answer and how long it stays fresh, both by the part that expires first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// How long ago that part was read.
    pub age: Duration,
    /// How old it may get: `max-age` counts from when it was read, as `Age` does.
    pub lifetime: Duration,
}

impl Freshness {
    /// The part of two that expires first.
    #[must_use]
    pub(in crate::engine) fn sooner(self, other: Self) -> Self {
        let left = |part: Self| part.lifetime.saturating_sub(part.age);
        if left(other) < left(self) { other } else { self }
    }
}

/// An answer's rows by origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Rows that were known and fresh.
    pub hit_rows: u64,
    /// Rows that were read for this answer.
    pub miss_rows: u64,
    /// Rows from a read that another caller started.
    pub joined_rows: u64,
    /// Rows served past their freshness.
    pub stale_rows: u64,
    /// Why rows are stale.
    pub stale: Option<StaleReason>,
    /// Pages that upstream returned to the reads that this answer started.
    pub upstream_requests: u64,
}

/// Why an answer has rows past their freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Within `stale-while-revalidate` or `max-stale`: renewed in the background.
    Revalidating,
    /// Upstream fails, within `stale-if-error`.
    UpstreamFailed,
    /// The budget has no room soon, within `stale-if-error`.
    RateLimited,
}

/// The summary of an answer, at its end.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The answer has every execution created up to this instant.
    pub as_of: Timestamp,
    /// The number of its rows.
    pub count: u64,
    /// The number of the question's rows, including those beyond `newest`; `None` if older ones were not
    /// counted.
    pub total: Option<u64>,
    /// The sum of their digests.
    pub digest: Digest,
    /// What was left out; empty unless the question was lenient.
    pub missing: Vec<Missing>,
    /// Its age.
    pub freshness: Freshness,
    /// Its rows by origin.
    pub report: CacheReport,
}

impl Verdict {
    /// Whether nothing was left out.
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether there are older rows than the requested ones.
    pub const fn has_more(&self) -> bool {
        self.total.is_none()
    }
}

/// A span that could not be read, and why.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The span of the executions that may be missing.
    pub span: Span,
    /// The reason.
    pub error: AskError,
}

/// A complete answer.
#[derive(Debug)]
pub struct Collected {
    /// All rows, newest first.
    pub slices: Vec<EntrySlice>,
    /// Its summary.
    pub verdict: Verdict,
    /// The memory that the rows hold until they are sent.
    pub held: HeldMemory,
}
