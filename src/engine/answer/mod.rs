//! An answer in progress: takes known rows and rows that are being read, newest first.
//!
//! It goes through its plan from the newest part to the oldest, and holds only waiters for its readings. If a
//! part that was known when the plan was made is gone when its turn comes, it is planned again with the same
//! end and the same time, so that nothing that was read for this question counts as due. A part that can't be
//! read is served from stale rows, if the question accepts them, or is omitted, if the question is lenient,
//! or ends the answer.

mod background;
mod begin;
mod collect;
mod context;
mod delivery;
mod failure;
mod fetch;
mod progress;
mod quota;
mod remedy;
mod row_deadline;
mod running;
mod settle;
mod steps;
mod tally;

use tokio::time::Instant;

pub use self::collect::{ByteLimit, Collection, Gathered};
pub(super) use self::context::AnswerContext;
pub(super) use self::delivery::{AFTER_READING, DeliveryTerms, ReadTerms};
use self::running::RunningAnswer;
pub(super) use self::running::STREAM_DEADLINE;
use self::tally::Tally;
use super::memory::HeldMemory;
use super::terms::{AskError, Collected, Newest, Verdict};
use crate::domain::{EntrySlice, Timestamp};

/// An answer in progress.
///
/// Dropping it cancels the reads that no other answer waits for.
#[derive(Debug)]
pub struct Answer(AnswerKind);

#[derive(Debug)]
enum AnswerKind {
    /// The question is about a time without executions.
    Empty(Verdict),
    Running(Box<RunningAnswer>),
}

impl Answer {
    /// The answer to a question about a time without executions.
    pub(super) fn empty(as_of: Timestamp) -> Self {
        Self(AnswerKind::Empty(Tally::new(as_of).verdict(Some(0))))
    }

    /// Plans, sends the probes that come before the first row, and starts the reads.
    pub(super) async fn begin(context: AnswerContext, newest: Option<Newest>) -> Result<Self, AskError> {
        let running = RunningAnswer::begin(context, newest).await?;
        Ok(Self(AnswerKind::Running(Box::new(running))))
    }

    /// Waits until the first rows are ready, at most until `by`. Afterward the reads may wait for the budget
    /// as long as those of a stream.
    ///
    /// # Errors
    /// [`AskError::NotReady`] at `by`, unless the question is lenient; else as [`Self::next`].
    pub(super) async fn prime(&mut self, by: Instant) -> Result<(), AskError> {
        match &mut self.0 {
            AnswerKind::Empty(_) => Ok(()),
            AnswerKind::Running(running) => running.prime(by).await,
        }
    }

    /// The answer with the bytes of its rows, if none was taken yet. Bytes that are gone are read again.
    ///
    /// # Errors
    /// As [`Engine::ask`](super::Engine::ask).
    pub async fn with_bytes(mut self) -> Result<Self, AskError> {
        if let AnswerKind::Running(running) = &mut self.0
            && let Some(with_bytes) = running.with_bytes().await?
        {
            **running = with_bytes;
        }
        Ok(self)
    }

    /// The verdict, if it is certain before any row is taken, because nothing has to be read.
    pub const fn from_cache(&self) -> Option<&Verdict> {
        match &self.0 {
            AnswerKind::Empty(verdict) => Some(verdict),
            AnswerKind::Running(running) => running.known_verdict(),
        }
    }

    /// The next rows, newest first; `None` at the end.
    ///
    /// # Errors
    /// As [`Engine::ask`](super::Engine::ask). An error ends the answer.
    pub async fn next(&mut self) -> Result<Option<EntrySlice>, AskError> {
        match &mut self.0 {
            AnswerKind::Empty(_) => Ok(None),
            AnswerKind::Running(running) => running.next().await,
        }
    }

    /// Waits for the next rows of a collected answer, at most until its deadline. `None` at the end, and
    /// where a lenient answer omits what is not ready by then; the [`verdict`](Self::verdict) says which.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`AskError::NotReady`] at the deadline of a strict answer.
    pub async fn gather(&mut self) -> Result<Option<Gathered>, AskError> {
        match &mut self.0 {
            AnswerKind::Empty(_) => Ok(None),
            AnswerKind::Running(running) => running.gather().await,
        }
    }

    /// Takes all rows.
    ///
    /// # Errors
    /// As [`gather`](Self::gather), and [`AskError::TooLarge`] as soon as the rows exceed `max_bytes`,
    /// [`AskError::NoMemory`] as soon as they hold too much memory.
    pub async fn collect(self, max_bytes: u64) -> Result<Collected, AskError> {
        self.collect_within(&ByteLimit::new(max_bytes)).await
    }

    /// Takes all rows of an answer that is a part of a response.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub async fn collect_within(self, limit: &ByteLimit) -> Result<Collected, AskError> {
        match self.0 {
            AnswerKind::Empty(verdict) => {
                Ok(Collected { slices: Vec::new(), verdict, held: HeldMemory::default() })
            }
            AnswerKind::Running(running) => running.collect(limit).await,
        }
    }

    /// Releases the rows of an answer that is known to its end. They are taken from the cache again when
    /// their turn comes.
    ///
    /// An answer that still reads holds at most a fan-out of pages, and keeps them.
    pub(super) fn set_aside(&mut self) {
        match &mut self.0 {
            AnswerKind::Empty(_) => {}
            AnswerKind::Running(running) => running.set_aside(),
        }
    }

    /// The verdict on the answer: on all of it once [`next`](Self::next) returned `None`, and on the rows so
    /// far before that.
    pub fn verdict(&self) -> Verdict {
        match &self.0 {
            AnswerKind::Empty(verdict) => verdict.clone(),
            AnswerKind::Running(running) => running.verdict(),
        }
    }

    /// An empty account of the memory that a response of this caller holds.
    pub fn new_held(&self) -> HeldMemory {
        match &self.0 {
            AnswerKind::Empty(_) => HeldMemory::default(),
            AnswerKind::Running(running) => running.new_held(),
        }
    }
}
