//! Taking an answer as a whole: by its deadline, and from the beginning where it had to begin again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::running::RunningAnswer;
use crate::domain::EntrySlice;
use crate::engine::terms::{AskError, Collected};

/// What happens next to an answer that is taken as a whole.
#[derive(Debug)]
pub enum Gathered {
    /// The next rows, newest first.
    Rows(EntrySlice),
    /// All rows so far are void: the answer begins again.
    Restarted,
}

/// How many bytes of rows a response may have, counted over all answers that it is made of. Clones count together.
#[derive(Clone, Debug)]
pub struct ByteLimit {
    most: u64,
    taken: Arc<AtomicU64>,
}

impl ByteLimit {
    /// At most so many.
    pub fn new(most: u64) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes so many more.
    ///
    /// # Errors
    /// [`AskError::TooLarge`] if that is too many.
    pub fn take(&self, bytes: u64) -> Result<(), AskError> {
        let taken = self.taken.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if taken > self.most { Err(AskError::TooLarge { limit: self.most }) } else { Ok(()) }
    }

    /// Gives so many back that were taken.
    pub fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Relaxed);
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
