//! Begins an answer: makes a plan, and takes known rows or starts reads.

use std::time::Duration;

use tokio::time::Instant;

use super::context::{AnswerContext, AnswerStep, ReadOrigin};
use super::quota::Quota;
use super::running::RunningAnswer;
use super::tally::Tally;
use crate::domain::Span;
use crate::engine::freshness::Class;
use crate::engine::plan::{self, Plan, PlanItem};
use crate::engine::reading::Ended;
use crate::engine::terms::{AskError, Freshness, Newest, RowNeed, StaleReason};

/// How long an answer that may be stale waits for room in the budget.
const STALE_BUDGET_WAIT: Duration = Duration::from_secs(2);

/// The most rounds of probes before the answer continues.
const MAX_PROBE_ROUNDS: usize = 2;

/// The known rows no longer decide which of them pass a filter.
pub(super) fn undecided(span: Span) -> AskError {
    let detail =
        "which rows pass the filters can't be told from them any more; asking again helps".to_owned();
    AskError::Inconsistent { span, detail }
}

impl RunningAnswer {
    /// Plans, sends the probes that come before the first row, and starts the reads.
    pub(super) async fn begin(mut context: AnswerContext, newest: Option<Newest>) -> Result<Self, AskError> {
        let mut fallback = None;
        let quota = Quota::new(newest);
        let rows = quota.missing();
        for round in 0..=MAX_PROBE_ROUNDS {
            let tally = Tally::new(context.as_of());
            let planned = |context: &AnswerContext| match round {
                MAX_PROBE_ROUNDS => context.plan_without_probes(context.span, rows),
                _ => context.plan(context.span, rows),
            };
            let mut plan = planned(&context);
            if context.view.need == RowNeed::Facts && !context.delivery.retains_rows && !plan.reads_nothing()
            {
                context.view.need = RowNeed::Bytes;
                plan = planned(&context);
            }
            context.request.urgency = plan.gaps.urgency();
            if plan.reads_nothing() {
                context.renew(&plan.renewals);
                let freshness = plan.known.unwrap_or_default();
                return Self::of(context, Tally { freshness, ..tally }, quota).serve_known(plan.rest).await;
            }
            if round == 0 {
                let allowed =
                    context.directives.may_be_stale_for(context.state.parts.settings.stale_while_revalidate);
                if let Some(span) = context.view.stale_span(context.span, allowed, rows) {
                    return Self::stale(context, quota, span, &plan).await;
                }
                if context.directives.only_if_cached {
                    return Err(AskError::NotCached);
                }
                if context.view.picks() {
                    return Err(undecided(context.span));
                }
                fallback = context.fallback(rows);
                if fallback.is_some() {
                    (context.request.retry_for, context.request.budget_wait) =
                        (Duration::ZERO, Some(STALE_BUDGET_WAIT));
                }
            }
            if plan.probes.is_empty() {
                let mut answer = Self::of(context, tally, quota);
                answer.fallback = fallback;
                answer.read(&plan);
                return Ok(answer);
            }
            if let Err(error) = context.probe(&plan.probes).await {
                let mut answer = Self::of(context, tally, quota);
                answer.fallback = fallback;
                let ended = answer.confirmed(Ended::Failed(error)).await?;
                answer.failed(answer.context.span, ended, ReadOrigin::Own)?;
                return Ok(answer);
            }
        }
        Err(AskError::NotCached)
    }

    /// See [`Answer::with_bytes`](super::Answer::with_bytes); none if it has them.
    pub(super) async fn with_bytes(&self) -> Result<Option<Self>, AskError> {
        let has_bytes = self.steps.is_empty() && self.ready.iter().all(|slice| slice.entry.has_bytes());
        if has_bytes || self.context.view.need == RowNeed::Bytes {
            return Ok(None);
        }
        let mut context = self.context.clone();
        context.view.need = RowNeed::Bytes;
        let row_wait = context.delivery.row_wait;
        let mut answer = Self::begin(context, self.quota.newest()).await?;
        if let Some(row_wait) = row_wait {
            answer.prime(Instant::now() + row_wait).await?;
        }
        Ok(Some(answer))
    }

    /// An answer from known rows only. All of them are taken at once, so that what the headers say before the
    /// first row stays true to the last.
    ///
    /// `rest` was not planned, because its rows were not needed when the plan was made.
    async fn serve_known(mut self, rest: Option<Span>) -> Result<Self, AskError> {
        let AnswerContext { span, directives, .. } = self.context;
        self.steps.extend(rest.map_or(Some(span), |rest| span.after(rest.to())).map(AnswerStep::Known));
        self.steps.extend(rest.map(AnswerStep::Later));
        self.settle().await?;
        // Evicted between the plan and now: what is left goes the ordinary way.
        let is_known = self.steps.iter().all(|step| matches!(step, AnswerStep::Known(_)));
        if !is_known && directives.only_if_cached {
            return Err(AskError::NotCached);
        }
        Ok(self)
    }

    async fn stale(
        mut context: AnswerContext,
        quota: Quota,
        span: Span,
        plan: &Plan,
    ) -> Result<Self, AskError> {
        if !context.directives.only_if_cached {
            context.revalidate(plan);
        }
        context.narrow(span);
        let tally = Tally {
            stale: Some(StaleReason::Revalidating),
            freshness: plan.worst.unwrap_or_default(),
            ..Tally::new(context.as_of())
        };
        Self::of(context, tally, quota).serve_known(plan.rest).await
    }

    fn read(&mut self, plan: &Plan) {
        let context = &self.context;
        self.tally.freshness = plan
            .known
            .unwrap_or(Freshness { age: Duration::ZERO, lifetime: context.view.policy.ttl(Class::Settled) });
        if plan.gaps != plan::Gaps::None || plan.items.iter().any(|item| matches!(item, PlanItem::Read(_))) {
            let is_old = context.span.to() < context.view.policy.settles_before(context.view.asked_at);
            let lifetime = context.view.policy.ttl(if is_old { Class::Settling } else { Class::Live });
            self.tally.freshness = self.tally.freshness.sooner(Freshness { age: Duration::ZERO, lifetime });
        }
        context.renew(&plan.renewals);
        self.steps = context.steps(&plan.items, plan.gaps, self.quota.missing());
        self.steps.extend(plan.rest.map(AnswerStep::Later));
        self.look_ahead();
    }
}
