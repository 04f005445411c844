//! Taking an answer as a whole: by its deadline, and from the beginning where it had to begin again.

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
    pub(super) async fn collect(mut self, max_bytes: u64) -> Result<Collected, AskError> {
        let (mut slices, mut bytes) = (Vec::new(), 0u64);
        while let Some(gathered) = self.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    bytes += slice.byte_len() as u64;
                    if bytes > max_bytes {
                        return Err(AskError::TooLarge { limit: max_bytes });
                    }
                    // What was given ahead is held since then.
                    if self.from_cache.is_none() {
                        self.held.hold(&slice).map_err(AskError::NoMemory)?;
                    }
                    slices.push(slice);
                }
                Gathered::Restarted => {
                    bytes = 0;
                    slices.clear();
                    self.held = self.new_held();
                }
            }
        }
        Ok(Collected { slices, verdict: self.verdict(), held: std::mem::take(&mut self.held) })
    }
}
