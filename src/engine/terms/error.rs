use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::{Caller, CredentialId, Span};
use crate::engine::memory::MemoryLimit;
use crate::source::{Source, SourceError, Urgency};

/// Why a question has no answer, or only part of one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// Upstream could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no `from`, the agent's `created_at` can't be read, and `--history-start` is not set.
    #[error("the start of the agent's history is unknown")]
    NoHistoryStart,
    /// A list can't be proven complete, however often it is read.
    #[error("upstream's list can't be proven complete within {span:?}: {detail}")]
    Inconsistent {
        /// The span of the list.
        span: Span,
        /// What is wrong with it.
        detail: String,
    },
    /// The deadline passed while pages were still arriving. What was proven is stored.
    #[error("the deadline passed after {pages_read} of {pages_planned} pages")]
    NotReady {
        /// Pages read so far.
        pages_read: u64,
        /// Pages known to be needed, so far.
        pages_planned: u64,
        /// When a retry is likely to be complete.
        retry_after: Duration,
        /// What it waited for.
        awaited: Awaited,
    },
    /// A collected answer would be larger than allowed.
    #[error("the response is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes of rows.
        limit: u64,
    },
    /// The responses in progress hold as much memory as they may.
    #[error("the responses in progress hold as much memory as they may")]
    NoMemory(MemoryLimit),
    /// Not everything is known, and `only-if-cached` forbids reading.
    #[error("part of the response is not cached")]
    NotCached,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    ShuttingDown,
}

/// What an answer waited for when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Room in the budget.
    Budget,
    /// Upstream.
    Pages,
}

/// A retry would find nothing new at once. It need not be later than the usual period of the budget, because
/// it waits for room itself.
const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);

impl AskError {
    /// The deadline passed with these pages read and planned. `room_for` returns the time until the budget
    /// has room for a number of requests.
    pub(in crate::engine) fn not_ready(
        pages_read: u64,
        pages_planned: u64,
        room_for: impl Fn(u64) -> Duration,
    ) -> Self {
        let room_after = room_for(pages_planned.saturating_sub(pages_read).max(1));
        let retry_after = room_after.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
        let awaited = if room_for(1).is_zero() { Awaited::Pages } else { Awaited::Budget };
        Self::NotReady { pages_read, pages_planned, retry_after, awaited }
    }

    /// The deadline passed while a single request waited.
    pub(in crate::engine) fn nothing_ready(
        source: &dyn Source,
        credential: CredentialId,
        caller: Caller,
    ) -> Self {
        Self::not_ready(0, 1, |pages| source.room_for(credential, caller, Urgency::Refresh, pages))
    }
}
