//! The fixed context of an answer, and how its plans become steps: reads already in progress are joined, the
//! others are registered for other callers to join.

use std::collections::VecDeque;
use std::sync::Arc;

use super::delivery::{DeliveryTerms, ReadTerms};
use super::quota::Quota;
use crate::domain::{Span, Timestamp};
use crate::engine::freshness::Class;
use crate::engine::plan::{self, Plan, PlanItem, Probe, Probing};
use crate::engine::reading::{Ended, Keep, Purpose, ReadAhead, ReadWaiter, Reading, RequestStage};
use crate::engine::scope::{DueElsewhere, Known, Present, View};
use crate::engine::state::SharedState;
use crate::engine::terms::{AskError, CacheDirectives, Newest};
use crate::source::{Deadline, RequestContext, SourceError, Urgency};

/// The context of an answer, fixed when the question arrived.
#[derive(Clone)]
pub(in crate::engine) struct AnswerContext {
    pub(in crate::engine) state: Arc<SharedState>,
    /// The scope that the question is answered from.
    pub(in crate::engine) view: View,
    /// Other scopes that know some of its rows and may serve them while upstream fails.
    pub(in crate::engine) otherwise: Vec<View>,
    /// The requested span, with its end pinned.
    pub(in crate::engine) span: Span,
    pub(in crate::engine) present: Present,
    /// The question's own `to`.
    pub(in crate::engine) asked_to: Option<Timestamp>,
    pub(in crate::engine) request: RequestContext,
    pub(in crate::engine) reads: ReadTerms,
    pub(in crate::engine) delivery: DeliveryTerms,
    pub(in crate::engine) directives: CacheDirectives,
}

/// The approximate number of steps that are made from a plan at a time: five years of weeks.
const MAX_STEPS: usize = 256;

/// A part of an answer that was not delivered yet.
pub(super) enum AnswerStep {
    Known(Span),
    Read(Span, ReadWaiter, ReadOrigin),
    /// A planned reading that is registered when its turn comes.
    Later(Span),
}

impl AnswerStep {
    pub(super) const fn span(&self) -> Span {
        match self {
            Self::Known(span) | Self::Read(span, ..) | Self::Later(span) => *span,
        }
    }
}

/// What may be served if upstream fails.
pub(super) struct Fallback {
    pub(super) span: Span,
    /// The scope that knows it, if it is not the one that the question is answered from.
    pub(super) elsewhere: Option<View>,
}

/// Who started a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOrigin {
    Own,
    /// This answer, before its first rows were there. Its requests had until the deadline of the first row, and were refused at once
    /// if that was too early for them.
    OwnAtFirst,
    Joined,
}

impl ReadOrigin {
    /// Whether this answer started it.
    pub(super) fn is_own(self) -> bool {
        self != Self::Joined
    }
}

impl AnswerContext {
    /// The answer contains every execution created up to this instant.
    pub(super) fn as_of(&self) -> Timestamp {
        let proven = self.present.to.minus(self.state.parts.settings.commit_lag);
        self.asked_to.map_or(proven, |to| to.min(proven))
    }

    /// Ends the question at an earlier present.
    pub(super) fn narrow(&mut self, span: Span) {
        if span.to() < self.present.to {
            // When that was the present is not known here.
            self.present = Present { to: span.to(), pinned_at: None };
        }
        self.span = span;
    }

    /// Whether the rows that are read may be kept.
    pub(super) const fn keep(&self) -> Keep {
        if self.directives.no_store { Keep::No } else { Keep::Yes }
    }

    /// The plan for a span, as far down as this many rows need.
    pub(super) fn plan(&self, span: Span, rows: Option<u64>) -> Plan {
        let refused = self.view.scope.learned.refused_statuses();
        let probing = match self.keep() {
            Keep::Yes => Probing::AllBut(&refused),
            Keep::No => Probing::Never,
        };
        self.view.plan(span, rows, probing)
    }

    /// What is due that another process may have read, if anything is.
    pub(in crate::engine) fn due_elsewhere(&self, newest: Option<Newest>) -> Option<DueElsewhere> {
        self.state.parts.shared_tier()?;
        let plan = self.plan(self.span, Quota::new(newest).missing());
        let reading = plan.items.iter().find_map(|item| match item {
            PlanItem::Read(span) => Some(*span),
            PlanItem::Known(_) => None,
        });
        (!plan.reads_nothing()).then_some(DueElsewhere { reading })
    }

    /// The plan for a part of an answer in progress. Its probes are no longer sent, so the rows that they
    /// would have refreshed are read where they are.
    pub(super) fn plan_without_probes(&self, span: Span, rows: Option<u64>) -> Plan {
        self.view.plan(span, rows, Probing::Never)
    }

    /// What may be served if upstream fails: rows of the scope that the question is answered from, or else of
    /// another one.
    pub(super) fn fallback(&mut self, rows: Option<u64>) -> Option<Fallback> {
        let allowed = self.state.parts.settings.stale_if_error;
        if let Some(span) = self.view.stale_span(self.span, allowed, rows) {
            return Some(Fallback { span, elsewhere: None });
        }
        let known = |view: View| {
            let span = view.stale_span(self.span, allowed, rows)?;
            Some(Fallback { span, elsewhere: Some(view) })
        };
        std::mem::take(&mut self.otherwise).into_iter().find_map(known)
    }

    /// Turns a plan into steps: joins reads in progress, and registers readings for the rest.
    pub(super) fn steps(
        &self,
        items: &[PlanItem],
        gaps: plan::Gaps,
        rows: Option<u64>,
    ) -> VecDeque<AnswerStep> {
        let mut known = self.view.scope.lock();
        known.readings.retain(|reading| reading.is_open());
        let mut steps = VecDeque::new();
        let mut later: Option<Span> = None;
        for item in items {
            match item {
                PlanItem::Known(span) | PlanItem::Read(span) if steps.len() >= MAX_STEPS => {
                    later = Some(later.map_or(*span, |above| above.union(*span)));
                }
                PlanItem::Known(span) => steps.push_back(AnswerStep::Known(*span)),
                PlanItem::Read(span) => steps.extend(self.reads(&mut known, *span, gaps, rows)),
            }
        }
        steps.extend(later.map(AnswerStep::Later));
        steps
    }

    fn reads(&self, known: &mut Known, span: Span, gaps: plan::Gaps, rows: Option<u64>) -> Vec<AnswerStep> {
        let mut left = vec![span];
        let mut steps = Vec::new();
        // How many of it are needed shows when the answer has come to it. Until then, its first page.
        let rows = rows.map(|_| 1);
        let urgency = gaps.urgency();
        for reading in known.readings.iter().filter(|reading| self.may_join(reading, urgency)) {
            for part in std::mem::take(&mut left) {
                let Some(common) = part.intersection(reading.span) else {
                    left.push(part);
                    continue;
                };
                if reading.has_passed(common.to()) {
                    left.push(part);
                    continue;
                }
                left.extend(part.without(reading.span));
                let waiter = reading.join(common.to(), self.delivery.read_ahead, rows);
                if let Some(deadline) = &self.request.deadline {
                    reading.context.deadline.iter().for_each(|theirs| theirs.extend_to(deadline.instant()));
                }
                steps.push(AnswerStep::Read(common, waiter, ReadOrigin::Joined));
            }
        }
        for part in left {
            let reading = self.reading(part, Purpose::Fill, urgency);
            steps.push(AnswerStep::Read(
                part,
                reading.join(part.to(), self.delivery.read_ahead, rows),
                ReadOrigin::Own,
            ));
            known.readings.push(reading);
        }
        steps.sort_by_key(|step| std::cmp::Reverse(step.span().to()));
        steps
    }

    /// Whether a reading brings the rows that this question needs as fresh and as soon as a reading of its
    /// own would.
    fn may_join(&self, reading: &Reading, urgency: Urgency) -> bool {
        if reading.purpose != Purpose::Fill || !reading.is_open() {
            return false;
        }
        let sent_at = match reading.request() {
            RequestStage::Sent(instant) => self.state.parts.clock.at(instant),
            // What waits for its turn will be fresher than any question that came before.
            RequestStage::Planned | RequestStage::Waiting => {
                let patience = self.state.parts.settings.budget_patience;
                let is_patient = self.request.budget_wait.is_none_or(|wait| wait >= patience)
                    || reading.context.budget_wait.is_some();
                return is_patient && reading.context.urgency <= urgency;
            }
        };
        let is_old = reading.span.to() < self.view.policy.settles_before(self.view.asked_at);
        let ttl = self.view.policy.ttl(if is_old { Class::Settling } else { Class::Live });
        let is_late_enough = self.reads.joins_since.is_none_or(|since| sent_at >= since);
        is_late_enough && !self.view.policy.is_past(sent_at, ttl, self.view.asked_at)
    }

    pub(super) fn reading(&self, span: Span, purpose: Purpose, urgency: Urgency) -> Arc<Reading> {
        let request = RequestContext { urgency, ..self.request.clone() };
        let (in_flight, fan_out) = (Arc::clone(&self.reads.in_flight), self.state.parts.settings.fan_out);
        let is_fill = purpose == Purpose::Fill;
        let prefetch = self.reads.prefetch.clone().filter(|prefetch| is_fill && prefetch.begins(span));
        let pinned_at = self.present.pinned_at.filter(|_| is_fill && span.to() == self.present.to);
        let takes_turns = self.reads.takes_turns && is_fill && self.keep() == Keep::Yes;
        Reading::new(
            span,
            purpose,
            pinned_at,
            self.keep(),
            takes_turns,
            request,
            prefetch,
            in_flight,
            fan_out,
        )
    }

    /// Asks upstream which of the old rows are still in their status.
    pub(super) async fn probe(&self, probes: &[Probe]) -> Result<(), AskError> {
        let mut waiters = Vec::with_capacity(probes.len());
        {
            let mut known = self.view.scope.lock();
            known.readings.retain(|reading| reading.is_open());
            for probe in probes {
                let purpose = Purpose::Probe(probe.status.clone());
                let is_later = |reading: &Reading| match reading.request() {
                    RequestStage::Planned | RequestStage::Waiting => true,
                    RequestStage::Sent(instant) => {
                        self.state.parts.clock.at(instant)
                            > probe.oldest_read_at.plus(self.view.policy.ttl(Class::Live))
                    }
                };
                let same = known.readings.iter().find(|reading| {
                    reading.purpose == purpose && reading.span.covers(probe.span) && is_later(reading)
                });
                let waiter = if let Some(reading) = same {
                    reading.join(probe.span.to(), ReadAhead::Whole, None)
                } else {
                    let reading = self.reading(probe.span, purpose, Urgency::Refresh);
                    let waiter = reading.join(probe.span.to(), ReadAhead::Whole, None);
                    known.readings.push(reading);
                    waiter
                };
                waiters.push(waiter);
            }
        }
        waiters.iter().for_each(|waiter| self.state.reads.start(&self.view.scope, waiter.reading()));
        for (waiter, probe) in waiters.iter().zip(probes) {
            let over = waiter.over();
            let end = match self.request.deadline.as_ref().map(Deadline::instant) {
                None => over.await,
                Some(deadline) => {
                    tokio::time::timeout_at(deadline, over).await.unwrap_or(Err(Ended::Unwanted))
                }
            };
            match end {
                Ok(()) | Err(Ended::Unwanted | Ended::Disordered) => {}
                // Upstream may not take every word for a filter that it writes into rows: those are read where they are.
                Err(Ended::Failed(AskError::Source(SourceError::Refused(_)))) => {
                    self.view.scope.learned.refused(&probe.status);
                }
                Err(Ended::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
