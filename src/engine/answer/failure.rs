//! What an answer does about a part that could not be read.

use super::context::{AnswerStep, ReadOrigin};
use super::tally::Tally;
use super::{Answer, MAX_REPLANS, MAX_RESTARTS};
use crate::domain::Span;
use crate::engine::knowledge;
use crate::engine::reading::{Ended, ReadAhead};
use crate::engine::terms::{AskError, Missing, StaleReason};
use crate::source::SourceError;

impl Answer {
    /// Deals with a part that could not be read.
    pub(super) fn failed(&mut self, span: Span, ended: Ended, origin: ReadOrigin) -> Result<(), AskError> {
        let is_patient = self.replans < MAX_REPLANS;
        let error = match ended {
            Ended::Unwanted if is_patient => return self.replan(span),
            Ended::Disordered if is_patient && self.can_restart() => {
                return self.restart();
            }
            Ended::Unwanted | Ended::Disordered => AskError::Inconsistent {
                span,
                detail: "the list is in another order than it seemed; asking again helps".to_owned(),
            },
            Ended::Failed(error) => error,
        };
        // Shortly before the deadline nothing is sent any more: that is no lack of room.
        let is_cut_short = matches!(
            error,
            AskError::Source(SourceError::TimedOut | SourceError::RateLimited { upstream: None, .. })
        );
        let is_out_of_time = is_cut_short && self.is_out_of_time();
        let error = if is_out_of_time { self.not_ready() } else { self.with_room_for_the_rest(error) };
        if matches!(error, AskError::ShuttingDown) {
            return Err(error);
        }
        if self.fall_back(span, &error) {
            return Ok(());
        }
        if origin == ReadOrigin::Joined && self.replans == 0 {
            // The answer that began the reading may have had less patience.
            return self.replan(span);
        }
        self.leave_out(span, error)
    }

    /// Leaves a part out, if the question is lenient.
    ///
    /// # Errors
    /// The error, if it is not.
    pub(super) fn leave_out(&mut self, span: Span, error: AskError) -> Result<(), AskError> {
        if self.context.as_ref().is_some_and(|context| context.tolerance.is_lenient()) {
            self.tally.missing.push(Missing { span, error });
            return Ok(());
        }
        Err(error)
    }

    /// Whether nothing has left the answer yet that could not be taken back, and it was not taken back too often.
    fn can_restart(&self) -> bool {
        let is_inside = self.tally.count == 0
            || self.context.as_ref().is_some_and(|context| context.read_ahead == ReadAhead::Whole);
        is_inside && self.restarts < MAX_RESTARTS
    }

    /// Takes everything back and begins again.
    fn restart(&mut self) -> Result<(), AskError> {
        let Some(context) = &self.context else { return Ok(()) };
        let span = context.span;
        self.tally = Tally { stale: self.tally.stale, ..Tally::new(context.as_of()) };
        self.restarts += 1;
        self.quota.restart();
        self.undated.clear();
        self.ready.clear();
        self.steps.clear();
        self.replan(span)
    }

    /// If a part was refused to the credential, asks upstream once more whether it refuses that: a single refusal may be
    /// stray. If it does not, the part is planned again, a few times.
    ///
    /// # Errors
    /// The refusal, if it is confirmed.
    pub(super) async fn confirmed(&mut self, ended: Ended) -> Result<Ended, AskError> {
        let Ended::Failed(AskError::Source(SourceError::Denied(_) | SourceError::AgentNotFound(_))) = ended
        else {
            return Ok(ended);
        };
        let Some(context) = &self.context else { return Ok(ended) };
        let subject = &context.view.scope.subject;
        let credential = context.view.scope.credential();
        if let Err(error) = context.state.access.check(&credential, subject.agent, &context.request).await {
            knowledge::drop_refused(&context.state, credential.id(), subject.agent, &error);
            return Err(error.into());
        }
        if self.replans < MAX_REPLANS {
            self.replans = (self.replans + MAX_REPLANS / 3).min(MAX_REPLANS - 1);
            return Ok(Ended::Unwanted);
        }
        Ok(Ended::from(SourceError::Unavailable {
            detail: "upstream refuses pages to a credential that it accepts".to_owned(),
            retry_after: None,
            upstream: None,
        }))
    }

    /// Gives a part from what is known, past its freshness, if that is allowed; whether it was.
    fn fall_back(&mut self, span: Span, error: &AskError) -> bool {
        let reason = match error {
            AskError::Source(SourceError::RateLimited { .. }) => StaleReason::RateLimited,
            AskError::Source(
                SourceError::Unavailable { .. } | SourceError::TimedOut | SourceError::Malformed { .. },
            )
            | AskError::Inconsistent { .. } => StaleReason::UpstreamFailed,
            AskError::Source(
                SourceError::Denied(_) | SourceError::AgentNotFound(_) | SourceError::Refused(_),
            )
            | AskError::NoHistoryStart
            | AskError::NotReady { .. }
            | AskError::TooLarge { .. }
            | AskError::NoMemory(_)
            | AskError::NotCached
            | AskError::ShuttingDown => return false,
        };
        if self.replans >= MAX_REPLANS {
            return false;
        }
        let Some(fallback) = self.fallback.as_ref().map(|fallback| fallback.span) else { return false };
        let span = self.turned(span);
        let Some(context) = &mut self.context else { return false };
        self.replans += 1;
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
        true
    }

    /// Turns to what is known elsewhere, if that is the fallback, for a part that failed and all below it. Returns what is
    /// to be given from the fallback.
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
        if let Some(context) = &mut self.context {
            context.view.scope.lock().readings.retain(|reading| reading.is_open());
            context.view = view;
        }
        left
    }
}
