//! What an answer is made by, and how its plans become steps: what is being read already is joined, the rest is
//! registered for others to join.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::{EntryRow, EntrySlice, Span, Statuses, Timestamp};
use crate::engine::freshness::{Class, Policy};
use crate::engine::plan::{self, OtherCallers, Plan, PlanContext, PlanItem, Probe, Probing};
use crate::engine::reading::{Ended, Keep, Prefetch, Purpose, ReadAhead, ReadWaiter, Reading, RequestStage};
use crate::engine::scope::{Known, Present, Scope};
use crate::engine::state::SharedState;
use crate::engine::terms::{AskError, CacheDirectives, Tolerance};
use crate::source::{Deadline, RequestContext, SourceError, Urgency};

/// What an answer is made by, fixed when the question came.
pub(in crate::engine) struct AnswerContext {
    pub(in crate::engine) state: Arc<SharedState>,
    pub(in crate::engine) scope: Arc<Scope>,
    /// What is asked about, its end pinned.
    pub(in crate::engine) span: Span,
    pub(in crate::engine) present: Present,
    /// The question's own `to`.
    pub(in crate::engine) asked_to: Option<Timestamp>,
    pub(in crate::engine) policy: Policy,
    /// The statuses that rows are filtered by here.
    pub(in crate::engine) status: Option<Statuses>,
    pub(in crate::engine) asked_at: Timestamp,
    /// Readings that went upstream before this are not joined.
    pub(in crate::engine) joins_since: Timestamp,
    pub(in crate::engine) request: RequestContext,
    pub(in crate::engine) keep: Keep,
    pub(in crate::engine) read_ahead: ReadAhead,
    /// Whether the response needs its rows in memory until it is sent.
    pub(in crate::engine) retains_rows: bool,
    /// The question's first page, if it is on its way already.
    pub(in crate::engine) prefetch: Option<Arc<Prefetch>>,
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    pub(in crate::engine) tolerance: Tolerance,
    pub(in crate::engine) directives: CacheDirectives,
    pub(in crate::engine) deadline: Option<Instant>,
    /// How long each next row of a stream may take, waits for the budget not counted.
    pub(in crate::engine) row_wait: Option<Duration>,
}

/// About how many steps are made of a plan at a time: five years of weeks.
const MAX_STEPS: usize = 256;

/// A part of an answer that is still to be given.
pub(super) enum AnswerStep {
    Known(Span),
    Read(Span, ReadWaiter, ReadOrigin),
    /// Planned, and registered when its turn comes.
    Later(Span),
}

/// Who began a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOrigin {
    Own,
    Joined,
}

impl AnswerContext {
    /// Every execution created up to this instant is in the answer.
    pub(super) fn as_of(&self) -> Timestamp {
        let proven = self.present.to.minus(self.state.parts.settings.commit_lag);
        self.asked_to.map_or(proven, |to| to.min(proven))
    }

    /// Ends the question at an earlier present.
    pub(super) fn narrow(&mut self, span: Span) {
        if span.to() < self.present.to {
            // When that was the present is not known here.
            self.present = Present { to: span.to(), pinned_at: Timestamp::MIN };
        }
        self.span = span;
    }

    fn window(&self) -> Duration {
        self.state.parts.settings.span_width()
    }

    /// The plan for a span, as far down as so many rows need.
    pub(super) fn plan(&self, span: Span, rows: Option<u64>) -> Plan {
        let refused = self.scope.learned.refused_statuses();
        let probing = match self.keep {
            Keep::Yes => Probing::AllBut(&refused),
            Keep::No => Probing::Never,
        };
        self.plan_with(span, rows, probing)
    }

    /// The plan for a part of an answer that is under way: nothing asks its probes any more, so what they would have
    /// brought up to date is read where it is.
    pub(super) fn plan_without_probes(&self, span: Span, rows: Option<u64>) -> Plan {
        self.plan_with(span, rows, Probing::Never)
    }

    fn plan_with(&self, span: Span, rows: Option<u64>, probing: Probing<'_>) -> Plan {
        let others = match self.scope.is_asked_by_status(self.asked_at) {
            true => OtherCallers::ByStatus,
            false => OtherCallers::None,
        };
        let plan_context = PlanContext { status: self.status.as_ref(), others, probing };
        let window = self.window();
        // Under the lock: copies of ten thousand segments would take longer than the plan.
        let known = self.scope.lock();
        let top = self.top(&known, span, rows);
        let plan = plan::plan(&known.look(top), top, &self.policy, plan_context, self.asked_at, window);
        Plan { rest: span.before(top.from()), ..plan }
    }

    /// As much of a span as has to be looked at for so many rows.
    fn top(&self, known: &Known, span: Span, rows: Option<u64>) -> Span {
        rows.map_or(span, |rows| {
            plan::newest_part(&known.coverage, span, rows, self.status.as_ref(), self.window())
        })
    }

    /// Whether a row must be read again before it is given to this question.
    pub(super) fn is_due(&self, row: &EntryRow) -> bool {
        self.policy.due(row, self.asked_at).latest < self.asked_at
    }

    pub(super) fn filtered(&self, slice: EntrySlice, within: Span) -> Option<EntrySlice> {
        if self.status.is_none() && slice.is_within(within) {
            return Some(slice);
        }
        let keeps = |row: &EntryRow| {
            within.contains(row.created_at)
                && self.status.as_ref().is_none_or(|statuses| statuses.has(row.status.as_ref()))
        };
        slice.filtered(keeps)
    }

    /// What of the question may be given that long past its freshness: all of it, or all up to the latest reading
    /// that went up to the present. Of a question that wants so many rows only these must be known.
    pub(super) fn stale_span(&self, allowance: Duration, rows: Option<u64>) -> Option<Span> {
        if allowance.is_zero() {
            return None;
        }
        let known = self.scope.lock();
        let head = known.head.filter(|head| head.to < self.span.to());
        // What it brought may have been read long after its present.
        let ttl = self.policy.ttl(Class::Live).saturating_add(allowance);
        if head.is_some_and(|head| self.policy.is_past(head.read_at, ttl, self.asked_at)) {
            return None;
        }
        let span = head.map_or(Some(self.span), |head| Span::new(self.span.from(), head.to))?;
        let top = self.top(&known, span, rows);
        plan::may_be_stale(&known.look(top), &self.policy, self.asked_at, allowance).then_some(span)
    }

    /// Turns a plan into steps: joins what is being read already, and registers readings for the rest.
    pub(super) fn steps(
        &self,
        items: &[PlanItem],
        gaps: plan::Gaps,
        rows: Option<u64>,
    ) -> VecDeque<AnswerStep> {
        let mut known = self.scope.lock();
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
                let waiter = reading.join(common.to(), self.read_ahead, rows);
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
                reading.join(part.to(), self.read_ahead, rows),
                ReadOrigin::Own,
            ));
            known.readings.push(reading);
        }
        steps.sort_by_key(|step| match step {
            AnswerStep::Known(span) | AnswerStep::Read(span, ..) | AnswerStep::Later(span) => {
                std::cmp::Reverse(span.to())
            }
        });
        steps
    }

    /// Whether a reading brings what this question needs as fresh, and as soon, as one of its own would.
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
        let is_old = reading.span.to() < self.policy.settles_before(self.asked_at);
        let ttl = self.policy.ttl(if is_old { Class::Settling } else { Class::Live });
        sent_at >= self.joins_since && !self.policy.is_past(sent_at, ttl, self.asked_at)
    }

    pub(super) fn reading(&self, span: Span, purpose: Purpose, urgency: Urgency) -> Arc<Reading> {
        let is_head = purpose == Purpose::Fill && span.to() == self.present.to;
        let request = RequestContext { urgency, ..self.request.clone() };
        let (in_flight, fan_out) = (Arc::clone(&self.in_flight), self.state.parts.settings.fan_out);
        let prefetch =
            self.prefetch.clone().filter(|prefetch| purpose == Purpose::Fill && prefetch.begins(span));
        let pinned_at = self.present.pinned_at;
        Reading::new(span, purpose, pinned_at, is_head, self.keep, request, prefetch, in_flight, fan_out)
    }

    /// Asks which of the old rows are still in their status.
    pub(super) async fn probe(&self, probes: &[Probe]) -> Result<(), AskError> {
        let mut waiters = Vec::with_capacity(probes.len());
        {
            let mut known = self.scope.lock();
            known.readings.retain(|reading| reading.is_open());
            for probe in probes {
                let purpose = Purpose::Probe(probe.status.clone());
                let is_later = |reading: &Reading| match reading.request() {
                    RequestStage::Planned | RequestStage::Waiting => true,
                    RequestStage::Sent(instant) => {
                        self.state.parts.clock.at(instant)
                            > probe.oldest_read_at.plus(self.policy.ttl(Class::Live))
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
        waiters.iter().for_each(|waiter| self.state.reads.start(&self.scope, waiter.reading()));
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
                    self.scope.learned.refused(&probe.status);
                }
                Err(Ended::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
