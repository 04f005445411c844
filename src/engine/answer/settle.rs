//! Finds out what is certain about a streamed answer before its first row.

use tokio::task::coop::consume_budget;

use super::context::AnswerStep;
use super::running::RunningAnswer;
use crate::domain::Span;
use crate::engine::terms::AskError;

/// Whether more rows may be prepared before the response takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Allowed,
    /// This response holds half of the memory for responses, or all of them hold as much as they may. The answer
    /// continues as its rows are taken.
    NoMemory,
}

impl RunningAnswer {
    /// Takes all remaining rows at once, if nothing has to be read: what the headers say before the first row
    /// then stays true to the last. The question of a dashboard is of this kind once its head was read.
    ///
    /// # Errors
    /// See [`Self::replan`].
    pub(super) async fn settle(&mut self) -> Result<(), AskError> {
        while self.steps.iter().all(|step| !matches!(step, AnswerStep::Read(..)))
            && let Some(step) = self.steps.pop_front()
        {
            consume_budget().await;
            let ahead = match step {
                AnswerStep::Known(span) => {
                    self.fetch(span).await;
                    self.give_known_ahead(span)?
                }
                AnswerStep::Later(span) => {
                    self.plan(span);
                    Ahead::Allowed
                }
                AnswerStep::Read(..) => Ahead::Allowed,
            };
            if ahead == Ahead::NoMemory {
                return Ok(());
            }
        }
        if self.steps.is_empty() {
            self.from_cache = Some(self.verdict());
        }
        Ok(())
    }

    /// Prepares the rows at the top of a known span before the response takes them.
    ///
    /// # Errors
    /// See [`Self::replan`], and [`AskError::NoMemory`] if the answer is collected.
    pub(super) fn give_known_ahead(&mut self, span: Span) -> Result<Ahead, AskError> {
        let before = self.ready.len();
        self.give_known(span)?;
        let mut given = self.ready.iter().skip(before);
        let is_collected = self.context.delivery.retains_rows;
        if !is_collected && self.held.is_half() {
            return Ok(Ahead::NoMemory);
        }
        match given.try_for_each(|slice| self.held.hold(slice)) {
            Ok(()) => Ok(Ahead::Allowed),
            Err(limit) if is_collected => Err(AskError::NoMemory(limit)),
            Err(_) => Ok(Ahead::NoMemory),
        }
    }
}
