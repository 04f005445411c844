use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::Timestamp;
use crate::engine::reading::{Prefetch, ReadAhead};
use crate::engine::terms::{Question, ResponseMode, Tolerance};

/// The time that an answer reserves for the work after its last page, or after the first page of a stream.
pub(in crate::engine) const AFTER_READING: Duration = Duration::from_millis(100);

/// How the rows of an answer are delivered.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct DeliveryTerms {
    pub(in crate::engine) read_ahead: ReadAhead,
    /// Whether the response needs its rows in memory until it is sent.
    pub(in crate::engine) retains_rows: bool,
    pub(in crate::engine) tolerance: Tolerance,
    /// When the complete answer must be ready.
    pub(in crate::engine) deadline: Option<Instant>,
    /// How long a stream may take for each next row, not counting waits for the budget.
    pub(in crate::engine) row_wait: Option<Duration>,
}

impl DeliveryTerms {
    /// What the mode of a question asks for.
    pub(in crate::engine) const fn of(question: &Question) -> Self {
        let (read_ahead, retains_rows, deadline, row_wait) = match question.mode {
            ResponseMode::Collected { deadline } | ResponseMode::Paged { deadline } => {
                (ReadAhead::Whole, true, Some(deadline), None)
            }
            ResponseMode::Condensed { deadline } => (ReadAhead::Whole, false, Some(deadline), None),
            ResponseMode::Streamed { row_wait } => (ReadAhead::Later, false, None, Some(row_wait)),
        };
        Self { read_ahead, retains_rows, tolerance: question.tolerance, deadline, row_wait }
    }
}

/// How an answer reads.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ReadTerms {
    /// The question's first page, if it was requested already.
    pub(in crate::engine) prefetch: Option<Arc<Prefetch>>,
    /// The pages in flight for the answer.
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    /// Readings that were sent upstream before this are not joined.
    pub(in crate::engine) joins_since: Option<Timestamp>,
    /// Whether its readings wait while another process reads the same.
    pub(in crate::engine) takes_turns: bool,
}

impl ReadTerms {
    /// Joins any reading.
    pub(in crate::engine) const fn new(prefetch: Option<Arc<Prefetch>>, in_flight: Arc<Semaphore>) -> Self {
        Self { prefetch, in_flight, joins_since: None, takes_turns: true }
    }
}
