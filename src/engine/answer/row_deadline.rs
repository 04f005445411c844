//! How long a stream that has begun waits for each next row.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Answer;
use super::context::{AnswerStep, ReadOrigin};
use crate::engine::reading::Ended;
use crate::engine::terms::AskError;
use crate::source::{BudgetClock, SourceError};

/// The shortest pause between two looks at the clock: a wait for the budget moves the deadline while it lasts.
const PAUSE: Duration = Duration::from_millis(100);

/// When the next row must be there. Time that its read spends waiting for the budget does not count; the gate bounds that.
#[derive(Debug)]
pub(super) struct RowDeadline(Instant);

impl RowDeadline {
    /// The deadline of a row that is asked for now; none if it is further away than an instant can be.
    pub(super) fn begin(row_wait: Duration) -> Option<Self> {
        Instant::now().checked_add(row_wait).map(Self)
    }
}

impl Answer {
    /// Goes one step further. A part whose rows are not there at the deadline counts as one that upstream did not answer in
    /// time: it is given from what is known, left out, or ends the answer, like any part that can't be read.
    pub(super) async fn step_in_time(&mut self, row: &mut Option<RowDeadline>) -> Result<(), AskError> {
        let Some(RowDeadline(deadline)) = row else { return self.step().await };
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
