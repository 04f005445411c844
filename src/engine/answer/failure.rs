//! Handles a part of an answer that could not be read.

use super::context::{AnswerStep, ReadOrigin};
use super::progress::StepEvent;
use super::remedy::{GivenRows, Remedy, StaleRows, Standing, TimeLeft, is_cut_short, remedy};
use super::running::RunningAnswer;
use super::tally::Tally;
use crate::domain::Span;
use crate::engine::knowledge;
use crate::engine::reading::{Ended, ReadAhead};
use crate::engine::terms::{AskError, Missing, StaleReason};
use crate::source::SourceError;

impl RunningAnswer {
    /// Handles a part that could not be read.
    pub(super) fn failed(&mut self, span: Span, ended: Ended, origin: ReadOrigin) -> Result<(), AskError> {
        let standing = self.standing(origin);
        match remedy(&ended, standing) {
            Remedy::Replan => self.replan(span, StepEvent::Interrupted),
            Remedy::Restart => self.restart(),
            Remedy::Stale(reason) => {
                self.fall_back(span, reason);
                Ok(())
            }
            Remedy::LeaveOut => self.leave_out(span, self.error(span, ended, standing.time)),
            Remedy::Fail => Err(self.error(span, ended, standing.time)),
        }
    }

    fn standing(&self, origin: ReadOrigin) -> Standing {
        let delivery = self.context.delivery;
        let is_inside = self.tally.count == 0 || delivery.read_ahead == ReadAhead::Whole;
        Standing {
            progress: self.progress,
            origin,
            tolerance: delivery.tolerance,
            given: if is_inside { GivenRows::Inside } else { GivenRows::Outside },
            stale_rows: if self.fallback.is_some() { StaleRows::Allowed } else { StaleRows::None },
            time: if self.is_out_of_time() { TimeLeft::None } else { TimeLeft::Some },
        }
    }

    /// The report of a part that stays missing.
    fn error(&self, span: Span, ended: Ended, time: TimeLeft) -> AskError {
        match ended {
            Ended::Unwanted | Ended::Disordered => AskError::Inconsistent {
                span,
                detail: "the list is in another order than it seemed; asking again helps".to_owned(),
            },
            Ended::Failed(error) if is_cut_short(&error) && time == TimeLeft::None => self.not_ready(),
            Ended::Failed(error) => self.with_room_for_the_rest(error),
        }
    }

    /// Omits a part, if the question is lenient.
    ///
    /// # Errors
    /// The error, if it is not.
    pub(super) fn leave_out(&mut self, span: Span, error: AskError) -> Result<(), AskError> {
        if self.context.delivery.tolerance.is_lenient() {
            self.tally.missing.push(Missing { span, error });
            return Ok(());
        }
        Err(error)
    }

    /// Voids all rows so far and restarts.
    fn restart(&mut self) -> Result<(), AskError> {
        self.tally = Tally { stale: self.tally.stale, ..Tally::new(self.context.as_of()) };
        self.progress.restart();
        self.quota.restart();
        self.undated.clear();
        self.ready.clear();
        self.steps.clear();
        self.replan(self.context.span, StepEvent::Interrupted)
    }

    /// If upstream refused a part to the credential, asks once more whether it refuses the credential,
    /// because a single refusal may be an accident. If it does not, the part is planned again, a few times.
    ///
    /// # Errors
    /// The refusal, if it is confirmed.
    pub(super) async fn confirmed(&mut self, ended: Ended) -> Result<Ended, AskError> {
        let words = match ended {
            Ended::Failed(AskError::Source(
                SourceError::Denied(words) | SourceError::AgentNotFound(words),
            )) => words,
            ended @ (Ended::Unwanted | Ended::Disordered | Ended::Failed(_)) => return Ok(ended),
        };
        let context = &self.context;
        let subject = &context.view.scope.subject;
        let credential = context.view.scope.credential();
        if let Err(error) = context.state.access.check(&credential, subject.agent, &context.request).await {
            knowledge::drop_refused(&context.state, credential.id(), subject.agent, &error);
            return Err(error.into());
        }
        if self.progress.may_replan() {
            self.progress.not_confirmed();
            return Ok(Ended::Unwanted);
        }
        Ok(Ended::from(SourceError::Unavailable {
            detail: "upstream refuses pages to a credential that it accepts".to_owned(),
            retry_after: None,
            upstream: Some(words),
        }))
    }

    /// Serves a part from stale rows.
    fn fall_back(&mut self, span: Span, reason: StaleReason) {
        let Some(fallback) = self.fallback.as_ref().map(|fallback| fallback.span) else { return };
        let span = self.turned(span);
        self.progress.fell_back();
        let context = &mut self.context;
        if self.tally.stale.is_none() {
            self.tally.stale = Some(reason);
            let plan = context.plan(fallback, self.quota.missing());
            self.tally.freshness = plan.worst.unwrap_or(self.tally.freshness);
        }
        if context.span.to() == context.present.to {
            // What is given now goes up to the present of an earlier reading.
            let lag = context.state.parts.settings.commit_lag;
            self.tally.as_of = self.tally.as_of.min(fallback.to().minus(lag));
        }
        if fallback.to() < span.to() {
            context.narrow(fallback);
            self.tally.as_of = context.as_of();
        }
        if let Some(part) = span.intersection(fallback) {
            self.steps.push_front(AnswerStep::Known(part));
        }
    }

    /// Switches to the other scope, if that is the fallback, for a part that failed and everything below it.
    /// Returns the span that the fallback serves.
    fn turned(&mut self, failed: Span) -> Span {
        let Some(view) = self.fallback.as_mut().and_then(|fallback| fallback.elsewhere.take()) else {
            return failed;
        };
        // What was planned is of the scope that is left.
        let planned = self.steps.iter().map(AnswerStep::span);
        let left = planned.fold(failed, Span::union);
        while !self.steps.is_empty() {
            self.leave_reading();
        }
        self.context.view.scope.lock().readings.retain(|reading| reading.is_open());
        self.context.view = view;
        left
    }
}
