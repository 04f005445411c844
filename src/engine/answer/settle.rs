//! What is certain of a streamed answer before its first row is given.

use tokio::task::coop::consume_budget;

use super::context::AnswerStep;
use super::running::RunningAnswer;
use crate::domain::Span;
use crate::engine::terms::AskError;

/// Whether more may be given before anybody takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Allowed,
    /// This response holds half of the memory for responses, or all of them hold as much as they may: the answer goes on
    /// as its rows are taken.
    NoMemory,
}

impl RunningAnswer {
    /// Takes all that is left at once, if nothing of it is still to be read: then what is said of the answer before its
    /// first row holds to the last. A dashboard's question is of this kind once its head is there.
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

    /// Gives what lies at the top of a known span before anybody takes it.
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
