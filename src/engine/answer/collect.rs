//! Taking an answer as a whole: by its deadline, and from the beginning where it had to begin again.

use super::Answer;
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

impl Answer {
    /// Waits for the next rows of an answer that is wanted whole, at most until its deadline. None at the end, also where a
    /// lenient answer leaves out what is not there by then; the [`verdict`](Self::verdict) tells.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`AskError::NotReady`] at the deadline of a strict answer.
    pub async fn gather(&mut self) -> Result<Option<Gathered>, AskError> {
        let restarts = self.restarts;
        let deadline = self.context.as_ref().and_then(|context| context.deadline);
        let next = match deadline {
            None => self.next().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(next) => next,
                Err(_) => self.out_of_time().map(|()| None),
            },
        };
        let next = next?;
        if restarts != self.restarts {
            next.into_iter().for_each(|rows| self.ready.push_front(rows));
            return Ok(Some(Gathered::Restarted));
        }
        Ok(next.map(Gathered::Rows))
    }

    /// Takes all rows.
    ///
    /// # Errors
    /// As [`gather`](Self::gather), and [`AskError::TooLarge`] as soon as the rows exceed `max_bytes`, [`AskError::NoMemory`] as soon as they
    /// hold too much memory.
    pub async fn collect(mut self, max_bytes: u64) -> Result<Collected, AskError> {
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
