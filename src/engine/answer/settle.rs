//! What is certain of a streamed answer before its first row is given.

use tokio::task::coop::consume_budget;

use super::Answer;
use super::frame::Step;
use crate::engine::AskError;

impl Answer {
    /// Takes all that is left at once, if nothing of it is still to be read: then what is said of the answer before its
    /// first row holds to the last. A dashboard's question is of this kind once its head is there.
    ///
    /// # Errors
    /// See [`Self::replan`].
    pub(super) async fn settle(&mut self) -> Result<(), AskError> {
        while let Some(Step::Known(span)) = self.steps.front() {
            let span = *span;
            if !self.steps.iter().all(|step| matches!(step, Step::Known(_))) {
                return Ok(());
            }
            consume_budget().await;
            self.steps.pop_front();
            self.give_known(span)?;
        }
        if self.steps.is_empty() {
            self.foregone = Some(self.tally.verdict());
        }
        Ok(())
    }
}
