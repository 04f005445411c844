use std::time::Duration;

use crate::domain::Span;
use crate::source::SourceError;

/// Why a question has no answer, or not all of one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// Upstream could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No `from` was given, the agent's own `created_at` can't be had, and no `--history-start` is set.
    #[error("where the agent's history begins is not known")]
    NoHistoryStart,
    /// A list can't be proven whole, however often it is read.
    #[error("upstream's list can't be proven whole within {span:?}: {detail}")]
    Inconsistent {
        /// Where.
        span: Span,
        /// What was seen.
        detail: String,
    },
    /// The deadline passed while pages were still arriving. What was proven is kept.
    #[error("the deadline passed after {pages_read} of {pages_planned} pages")]
    NotReady {
        /// Pages read so far.
        pages_read: u64,
        /// Pages known to be needed, so far.
        pages_planned: u64,
        /// When a retry is likely to find the rest.
        retry_after: Duration,
    },
    /// A collected answer would be larger than allowed.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes of rows.
        limit: u64,
    },
    /// Not everything is known, and `only-if-cached` forbids reading.
    #[error("not everything is known")]
    NotCached,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    ShuttingDown,
}
