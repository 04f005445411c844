//! Limits how long a stream that has begun waits for each next row.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::context::{AnswerStep, ReadOrigin};
use super::running::RunningAnswer;
use crate::engine::reading::Ended;
use crate::engine::terms::AskError;
use crate::source::{BudgetClock, SourceError};

/// The shortest pause between two looks at the clock, because a wait for the budget moves the deadline while
/// it lasts.
const PAUSE: Duration = Duration::from_millis(100);

impl RunningAnswer {
    /// Takes one step. If the rows of a part are not ready at the deadline, upstream counts as too slow: the
    /// part is served from stale rows, is omitted, or ends the answer, like any part that can't be read. Time
    /// that a read spends waiting for the budget does not count and moves the deadline; the gate bounds that
    /// time.
    pub(super) async fn step_in_time(&mut self, row_deadline: &mut Option<Instant>) -> Result<(), AskError> {
        let Some(deadline) = row_deadline else { return self.step().await };
        let clock = self.front_clock();
        let waited = || clock.as_ref().map_or(Duration::ZERO, BudgetClock::waited);
        let before = waited();
        let mut until = *deadline;
        loop {
            // What is ready is taken even past the deadline: a step is polled before the clock is looked at.
            if let Ok(done) = timeout_at(until, self.step()).await {
                *deadline += waited().saturating_sub(before);
                return done;
            }
            let moved = *deadline + waited().saturating_sub(before);
            let now = Instant::now();
            if moved <= now {
                *deadline = moved;
                return self.front_out_of_time();
            }
            until = moved.max(now + PAUSE);
        }
    }

    /// The budget clock of the read that the next step waits for.
    fn front_clock(&self) -> Option<BudgetClock> {
        match self.steps.front() {
            Some(AnswerStep::Read(_, waiter, _)) => Some(waiter.reading().context.budget_clock.clone()),
            Some(AnswerStep::Known(_) | AnswerStep::Later(_)) | None => None,
        }
    }

    fn front_out_of_time(&mut self) -> Result<(), AskError> {
        match self.steps.front() {
            Some(AnswerStep::Read(span, ..)) => {
                let span = *span;
                self.leave_reading();
                // Also a read that others began: there is no time left for one of its own.
                self.failed(span, Ended::from(SourceError::TimedOut), ReadOrigin::Own)
            }
            Some(AnswerStep::Known(_) | AnswerStep::Later(_)) | None => Ok(()),
        }
    }
}
