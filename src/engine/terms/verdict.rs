use std::time::Duration;

use crate::domain::{Digest, EntrySlice, Span, Timestamp};
use crate::engine::memory::HeldMemory;
use crate::engine::terms::error::AskError;

/// How old an answer is and how long it stays fresh, both of the part that expires first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// How long ago that part was read.
    pub age: Duration,
    /// How old it may get: `max-age` counts from its reading, as `Age` does.
    pub lifetime: Duration,
}

impl Freshness {
    /// Of two parts, the one that expires first.
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
    /// Rows from a read that somebody else began.
    pub joined_rows: u64,
    /// Rows given past their freshness.
    pub stale_rows: u64,
    /// Why anything is stale.
    pub stale: Option<StaleReason>,
    /// Pages that upstream gave for the reads that this answer began.
    pub upstream_requests: u64,
}

/// Why an answer holds rows past their freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Within `stale-while-revalidate` or `max-stale`: renewed behind the answer.
    Revalidating,
    /// Upstream fails, within `stale-if-error`.
    UpstreamFailed,
    /// The budget has no room soon, within `stale-if-error`.
    RateLimited,
}

/// What an answer says of itself at its end.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Every execution created up to this instant is in the answer.
    pub as_of: Timestamp,
    /// How many rows it has.
    pub count: u64,
    /// How many rows the question has, with those that were left out as not wanted; none if there are older ones that
    /// were not counted.
    pub total: Option<u64>,
    /// The sum of their digests.
    pub digest: Digest,
    /// What was left out; empty unless the question was lenient.
    pub missing: Vec<Missing>,
    /// How old it is.
    pub freshness: Freshness,
    /// Its rows by origin.
    pub report: CacheReport,
}

impl Verdict {
    /// Whether nothing was left out.
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether there are older rows than those that were wanted.
    pub const fn has_more(&self) -> bool {
        self.total.is_none()
    }
}

/// A span that could not be had, and why.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Which executions may be missing.
    pub span: Span,
    /// Why.
    pub error: AskError,
}

/// An answer that is whole.
#[derive(Debug)]
pub struct Collected {
    /// All rows, newest first.
    pub slices: Vec<EntrySlice>,
    /// What it says of itself.
    pub verdict: Verdict,
    /// The memory that the rows hold until they are sent.
    pub held: HeldMemory,
}
