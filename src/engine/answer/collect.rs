//! Takes an answer as a whole: by its deadline, and again from the start if the answer was restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::running::RunningAnswer;
use crate::domain::EntrySlice;
use crate::engine::memory::HeldMemory;
use crate::engine::terms::{AskError, Collected, Verdict};

/// The next event of an answer that is taken as a whole.
#[derive(Debug)]
pub enum Gathered {
    /// The next rows, newest first.
    Rows(EntrySlice),
    /// All rows so far are void, because the answer was restarted.
    Restarted,
}

/// The most bytes of rows that a response may have, over all answers that it consists of. Clones count
/// together.
#[derive(Clone, Debug)]
pub struct ByteLimit {
    most: u64,
    taken: Arc<AtomicU64>,
}

impl ByteLimit {
    /// At most this many.
    pub fn new(most: u64) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes this many more.
    ///
    /// # Errors
    /// [`AskError::TooLarge`] if that exceeds the limit.
    pub fn take(&self, bytes: u64) -> Result<(), AskError> {
        let taken = self.taken.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if taken > self.most { Err(AskError::TooLarge { limit: self.most }) } else { Ok(()) }
    }

    /// Returns this many that were taken.
    pub fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Relaxed);
    }
}

/// Rows that are collected for a response: counted toward the limit on its size, and held in memory.
#[derive(Debug)]
pub struct Collection {
    limit: ByteLimit,
    bytes: u64,
    slices: Vec<EntrySlice>,
    held: HeldMemory,
}

impl Collection {
    /// No rows yet, with an empty account of memory.
    pub fn new(limit: &ByteLimit, held: HeldMemory) -> Self {
        Self { limit: limit.clone(), bytes: 0, slices: Vec::new(), held }
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// [`AskError::TooLarge`], [`AskError::NoMemory`].
    pub fn push(&mut self, slice: EntrySlice) -> Result<(), AskError> {
        let bytes = slice.byte_len() as u64;
        self.bytes += bytes;
        self.limit.take(bytes)?;
        self.held.hold(&slice).map_err(AskError::NoMemory)?;
        self.slices.push(slice);
        Ok(())
    }

    /// Voids all rows, and continues with an empty account of memory.
    pub fn restart(&mut self, held: HeldMemory) {
        self.limit.give_back(self.bytes);
        *self = Self::new(&self.limit, held);
    }

    /// All rows, with the verdict on them.
    pub fn finish(self, verdict: Verdict) -> Collected {
        Collected { slices: self.slices, verdict, held: self.held }
    }
}

impl RunningAnswer {
    /// See [`Answer::gather`](super::Answer::gather).
    pub(super) async fn gather(&mut self) -> Result<Option<Gathered>, AskError> {
        let restarts = self.progress.restarts();
        let deadline = self.context.delivery.deadline;
        let next = match deadline {
            None => self.next().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(next) => next,
                Err(_) => self.out_of_time().map(|()| None),
            },
        };
        let next = next?;
        if restarts != self.progress.restarts() {
            next.into_iter().for_each(|rows| self.ready.push_front(rows));
            return Ok(Some(Gathered::Restarted));
        }
        Ok(next.map(Gathered::Rows))
    }

    /// See [`Answer::collect`](super::Answer::collect).
    pub(super) async fn collect(mut self, limit: &ByteLimit) -> Result<Collected, AskError> {
        let (mut slices, mut bytes) = (Vec::new(), 0u64);
        while let Some(gathered) = self.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    bytes += slice.byte_len() as u64;
                    limit.take(slice.byte_len() as u64)?;
                    // What was given ahead is held since then.
                    if self.from_cache.is_none() {
                        self.held.hold(&slice).map_err(AskError::NoMemory)?;
                    }
                    slices.push(slice);
                }
                Gathered::Restarted => {
                    limit.give_back(std::mem::take(&mut bytes));
                    slices.clear();
                    self.held = self.new_held();
                }
            }
        }
        Ok(Collected { slices, verdict: self.verdict(), held: std::mem::take(&mut self.held) })
    }
}
