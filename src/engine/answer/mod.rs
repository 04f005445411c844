//! An answer in progress: takes rows from what is known and from what is being read, newest first.
//!
//! It goes through its plan from the newest part to the oldest, and holds only waiters for its readings. If a part that was
//! known when the plan was made is gone when its turn comes, it is planned again with the same end and the same time, so
//! that nothing that was read for this question counts as due. A part that can't be read is served from what is known, if
//! it may be stale; or left out, if the question is lenient; or it ends the answer.

mod background;
mod collect;
mod context;
mod failure;
mod quota;
mod row_deadline;
mod settle;
mod steps;
mod tally;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::task::coop::consume_budget;
use tokio::time::Instant;

pub use self::collect::Gathered;
pub(super) use self::context::AnswerContext;
use self::context::{AnswerStep, Fallback, ReadOrigin};
use self::quota::Quota;
use self::tally::Tally;
use super::freshness::Class;
use super::memory::HeldMemory;
use super::plan::{self, Plan, PlanItem};
use super::reading::Ended;
use super::terms::{AskError, Freshness, Missing, Newest, StaleReason, Verdict};
use crate::domain::{EntrySlice, MAX_PAGE_SIZE, RowId, Span, Timestamp};
use crate::source::SourceError;

/// Longer than any stream: its answer bounds how long each row may take, and the gate how long that waits for the budget.
const STREAM_DEADLINE: Duration = Duration::from_hours(365 * 24);

/// An answer keeps some of its time for what comes after the last page, or the first of a stream.
pub(super) const AFTER_READING: Duration = Duration::from_millis(100);

/// How long an answer that may be stale waits for room in the budget.
const STALE_BUDGET_WAIT: Duration = Duration::from_secs(2);

/// The most pages that the `Retry-After` of a refused request allows for. A list may end long before the rows that were
/// requested, and a minute's budget is several times as much.
const MOST_PAGES_AHEAD: u64 = 60;

/// How often an answer plans again without having come further.
const MAX_REPLANS: u32 = 24;

/// How often an answer takes everything back and begins again: once for a list whose order was not known, and once more
/// for one that changed its order.
const MAX_RESTARTS: u32 = 2;

/// How often probes are followed by other probes before the answer goes on.
const MAX_PROBE_ROUNDS: usize = 2;

/// An answer under way.
///
/// Dropping it cancels its own reads; those that others wait for go on.
pub struct Answer {
    context: Option<AnswerContext>,
    steps: VecDeque<AnswerStep>,
    ready: VecDeque<EntrySlice>,
    from_cache: Option<Verdict>,
    tally: Tally,
    /// Which of the rows are given.
    quota: Quota,
    /// What may be given, at worst, if upstream fails.
    fallback: Option<Fallback>,
    replans: u32,
    /// How often everything given so far was taken back; only ever for an answer that is collected.
    restarts: u32,
    /// Rows without a date that were given: only those can turn up in two places.
    undated: HashSet<RowId>,
    /// The memory that it holds if it is made up in full before it is sent.
    held: HeldMemory,
}

impl Answer {
    /// The answer to a question about a time without executions.
    pub(super) fn empty(as_of: Timestamp) -> Self {
        let tally = Tally::new(as_of);
        let mut answer = Self::of(None, tally, Quota::default());
        answer.from_cache = Some(answer.verdict());
        answer
    }

    fn of(context: Option<AnswerContext>, tally: Tally, quota: Quota) -> Self {
        let (steps, ready, undated) = (VecDeque::new(), VecDeque::new(), HashSet::new());
        let (from_cache, held) = (None, HeldMemory::default());
        let (fallback, replans, restarts) = (None, 0, 0);
        let mut answer = Self {
            context,
            steps,
            ready,
            from_cache,
            tally,
            quota,
            fallback,
            replans,
            restarts,
            undated,
            held,
        };
        answer.held = answer.new_held();
        answer
    }

    /// Plans, asks what must be asked before anything can be given, and begins to read.
    pub(super) async fn begin(mut context: AnswerContext, newest: Option<Newest>) -> Result<Self, AskError> {
        let mut fallback = None;
        let quota = Quota::new(newest);
        let rows = quota.missing();
        for round in 0..=MAX_PROBE_ROUNDS {
            let tally = Tally::new(context.as_of());
            let plan = match round {
                MAX_PROBE_ROUNDS => context.plan_without_probes(context.span, rows),
                _ => context.plan(context.span, rows),
            };
            context.request.urgency = plan.gaps.urgency();
            if plan.reads_nothing() {
                context.renew(&plan.renewals);
                let freshness = plan.known.unwrap_or_default();
                return Self::of(Some(context), Tally { freshness, ..tally }, quota)
                    .serve_known(plan.rest)
                    .await;
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
                fallback = context.fallback(rows);
                if fallback.is_some() {
                    (context.request.retry_for, context.request.budget_wait) =
                        (Duration::ZERO, Some(STALE_BUDGET_WAIT));
                }
            }
            if plan.probes.is_empty() {
                let mut answer = Self::of(Some(context), tally, quota);
                answer.fallback = fallback;
                answer.read(&plan);
                return Ok(answer);
            }
            if let Err(error) = context.probe(&plan.probes).await {
                let mut answer = Self::of(Some(context), tally, quota);
                answer.fallback = fallback;
                let whole = answer.context.as_ref().map_or(Span::at(Timestamp::MIN), |context| context.span);
                let ended = answer.confirmed(Ended::Failed(error)).await?;
                answer.failed(whole, ended, ReadOrigin::Own)?;
                return Ok(answer);
            }
        }
        Err(AskError::NotCached)
    }

    /// An answer out of nothing but what is known. All of it is taken at once, so that what was said of it before
    /// the first row holds to the last.
    ///
    /// `rest` was not planned, since its rows were not needed when the plan was made.
    async fn serve_known(mut self, rest: Option<Span>) -> Result<Self, AskError> {
        let Some(AnswerContext { span, directives, .. }) = self.context else { return Ok(self) };
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

    /// What a response of this caller holds: nothing yet.
    pub fn new_held(&self) -> HeldMemory {
        let memory = self.context.as_ref().map(|context| context.state.memory.of(context.request.caller.id));
        memory.unwrap_or_default()
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
        Self::of(Some(context), tally, quota).serve_known(plan.rest).await
    }

    fn read(&mut self, plan: &Plan) {
        let Some(context) = &self.context else { return };
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

    /// Waits until the first rows are there, but no longer than until `by`. From then on the reads may wait for the
    /// budget as long as a stream may.
    ///
    /// # Errors
    /// [`AskError::NotReady`] at `by`, unless the question is lenient; else as [`Self::next`].
    pub(super) async fn prime(&mut self, by: Instant) -> Result<(), AskError> {
        let first_rows = async {
            while self.ready.is_empty() && !self.steps.is_empty() {
                self.step().await?;
            }
            Ok::<(), AskError>(())
        };
        match tokio::time::timeout_at(by, first_rows).await {
            Ok(primed) => primed?,
            Err(_) => self.out_of_time()?,
        }
        self.settle().await?;
        self.has_begun();
        Ok(())
    }

    /// Lets the reads of a stream take as long as a stream that has begun may.
    fn has_begun(&self) {
        let Some(context) = &self.context else { return };
        let until = Instant::now() + STREAM_DEADLINE;
        let reads = self.steps.iter().filter_map(|step| match step {
            AnswerStep::Read(_, waiter, _) => waiter.reading().context.deadline.as_ref(),
            AnswerStep::Known(_) | AnswerStep::Later(_) => None,
        });
        reads.chain(&context.request.deadline).for_each(|deadline| deadline.extend_to(until));
    }

    /// The verdict, if it is certain before any row is taken: nothing is still to be read.
    pub const fn from_cache(&self) -> Option<&Verdict> {
        self.from_cache.as_ref()
    }

    /// The next rows, newest first; none at the end.
    ///
    /// # Errors
    /// As [`Engine::ask`](super::Engine::ask). After an error nothing more comes.
    pub async fn next(&mut self) -> Result<Option<EntrySlice>, AskError> {
        let mut row = self.context.as_ref().and_then(|context| Instant::now().checked_add(context.row_wait?));
        loop {
            consume_budget().await;
            if let Some(slice) = self.ready.pop_front() {
                return Ok(Some(slice));
            }
            if self.steps.is_empty() {
                return Ok(None);
            }
            if let Err(error) = self.step_in_time(&mut row).await {
                self.steps.clear();
                return Err(error);
            }
        }
    }

    /// What the answer says of itself. Of the whole answer once [`next`](Self::next) gave none, of what was given
    /// so far before.
    pub fn verdict(&self) -> Verdict {
        self.tally.verdict(self.quota.total())
    }

    /// Leaves out what is not there at the deadline, if the question is lenient.
    fn out_of_time(&mut self) -> Result<(), AskError> {
        let error = self.not_ready();
        let left = self.steps.iter().map(AnswerStep::span);
        match (left.reduce(Span::union), &self.context) {
            (Some(span), Some(context)) if context.tolerance.is_lenient() => {
                self.tally.missing.push(Missing { span, error });
                self.steps.clear();
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Whether the deadline has come: upstream is given up shortly before it.
    fn is_out_of_time(&self) -> bool {
        let deadline = self.context.as_ref().and_then(|context| context.deadline);
        deadline.is_some_and(|deadline| deadline <= Instant::now() + 2 * AFTER_READING)
    }

    /// What is missing at the deadline, and when the budget probably has room for it.
    fn not_ready(&self) -> AskError {
        let (pages_read, pages_planned) = self.pages();
        AskError::not_ready(pages_read, pages_planned, |pages| self.room_for(pages))
    }

    /// How many pages were read, and how many there are to read as far as is known: one more at least.
    fn pages(&self) -> (u64, u64) {
        let readings = self.steps.iter().filter_map(|step| match step {
            AnswerStep::Read(_, waiter, _) => Some(waiter.reading().progress()),
            AnswerStep::Known(_) | AnswerStep::Later(_) => None,
        });
        let (read, planned) = readings.fold((0, 0), |(r, p), (read, planned)| (r + read, p + planned));
        let done = self.tally.report.upstream_requests;
        // Of some of the newest rows, what a list has below them does not count.
        let needed = self.quota.missing().map(|rows| read + rows.div_ceil(MAX_PAGE_SIZE as u64));
        let planned = needed.map_or(planned, |needed| planned.min(needed));
        // Something is missing, or this would not be asked.
        (read + done, (planned + done).max(read + done + 1))
    }

    /// How long it probably takes until the budget has room for so many more pages.
    fn room_for(&self, pages: u64) -> Duration {
        let Some(context) = &self.context else { return Duration::ZERO };
        let (credential, request) = (context.view.scope.subject.credential.id(), &context.request);
        context.state.parts.source.room_for(credential, request.caller, request.urgency, pages)
    }

    /// Extends the `Retry-After` of a refusal for the budget until there is room for everything that is missing, not only for
    /// the next request.
    fn with_room_for_the_rest(&self, error: AskError) -> AskError {
        let AskError::Source(SourceError::RateLimited { retry_after, upstream: None }) = error else {
            return error;
        };
        let (read, planned) = self.pages();
        let needed = self.quota.missing().map(|rows| rows.div_ceil(MAX_PAGE_SIZE as u64));
        let missing = needed.map_or(planned - read, |needed| needed.min(MOST_PAGES_AHEAD));
        let retry_after = retry_after.max(self.room_for(missing));
        SourceError::RateLimited { retry_after, upstream: None }.into()
    }
}

impl Drop for Answer {
    /// Takes the reads that nobody waits for now off the scope's list, also those that were never started.
    fn drop(&mut self) {
        self.steps.clear();
        if self.from_cache.is_none()
            && let Some(context) = &self.context
        {
            context.view.scope.lock().readings.retain(|reading| reading.is_open());
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("tally", &self.tally).finish_non_exhaustive()
    }
}
