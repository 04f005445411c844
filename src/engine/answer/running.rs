use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use super::context::{AnswerContext, AnswerStep, Fallback, ReadOrigin};
use super::delivery::AFTER_READING;
use super::progress::AnswerProgress;
use super::quota::Quota;
use super::tally::Tally;
use crate::domain::{Entry, EntrySlice, RowId, Span};
use crate::engine::memory::HeldMemory;
use crate::engine::scope;
use crate::engine::terms::{AskError, Missing, RowNeed, Verdict};
use crate::source::SourceError;

/// Longer than any stream. The answer bounds the time per row, and the gate bounds waits for the budget.
pub(in crate::engine) const STREAM_DEADLINE: Duration = Duration::from_hours(365 * 24);

/// The most pages that the `Retry-After` of a refused request allows for. A list may end long before the rows that were
/// requested, and a minute's budget is several times as much.
const MOST_PAGES_AHEAD: u64 = 60;

/// An answer in progress.
///
/// Dropping it cancels the reads that no other answer waits for.
pub(super) struct RunningAnswer {
    pub(super) context: AnswerContext,
    pub(super) steps: VecDeque<AnswerStep>,
    pub(super) ready: VecDeque<EntrySlice>,
    pub(super) from_cache: Option<Verdict>,
    pub(super) tally: Tally,
    /// Which rows are delivered.
    pub(super) quota: Quota,
    /// What may be served if upstream fails.
    pub(super) fallback: Option<Fallback>,
    pub(super) progress: AnswerProgress,
    /// The delivered rows without a date: only those can appear in two places.
    pub(super) undated: HashSet<RowId>,
    /// Entries from the tier, until they are delivered or set aside.
    pub(super) fetched: Vec<Arc<Entry>>,
    /// The memory that it holds if it is completed before it is sent.
    pub(super) held: HeldMemory,
}

impl RunningAnswer {
    pub(super) fn of(context: AnswerContext, tally: Tally, quota: Quota) -> Self {
        Self {
            held: context.state.memory.of(context.request.caller.id),
            context,
            steps: VecDeque::new(),
            ready: VecDeque::new(),
            from_cache: None,
            tally,
            quota,
            fallback: None,
            progress: AnswerProgress::default(),
            undated: HashSet::new(),
            fetched: Vec::new(),
        }
    }

    /// An empty account of the memory that a response of this caller holds.
    pub(super) fn new_held(&self) -> HeldMemory {
        self.context.state.memory.of(self.context.request.caller.id)
    }

    /// See [`Answer::prime`](super::Answer::prime).
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
    fn has_begun(&mut self) {
        let until = Instant::now() + STREAM_DEADLINE;
        self.context.request.deadline.iter().for_each(|deadline| deadline.extend_to(until));
        for step in &mut self.steps {
            if let AnswerStep::Read(_, waiter, origin) = step {
                waiter.reading().context.deadline.iter().for_each(|deadline| deadline.extend_to(until));
                if *origin == ReadOrigin::Own {
                    *origin = ReadOrigin::OwnAtFirst;
                }
            }
        }
    }

    /// The verdict, if it is certain before any row is taken, because nothing has to be read.
    pub(super) const fn known_verdict(&self) -> Option<&Verdict> {
        self.from_cache.as_ref()
    }

    /// See [`Answer::next`](super::Answer::next).
    pub(super) async fn next(&mut self) -> Result<Option<EntrySlice>, AskError> {
        let row_wait = self.context.delivery.row_wait;
        let mut row = row_wait.and_then(|wait| Instant::now().checked_add(wait));
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

    /// The verdict on the answer: on all of it once [`next`](Self::next) returned `None`, and on the rows so
    /// far before that.
    pub(super) fn verdict(&self) -> Verdict {
        self.tally.verdict(self.quota.total())
    }

    /// See [`Answer::set_aside`](super::Answer::set_aside).
    pub(super) fn set_aside(&mut self) {
        if self.from_cache.take().is_none() {
            return;
        }
        let Tally { freshness, stale, .. } = self.tally;
        self.tally = Tally { freshness, stale, ..Tally::new(self.tally.as_of) };
        self.steps = [AnswerStep::Known(self.context.span)].into();
        self.quota.restart();
        self.undated.clear();
        self.ready.clear();
        self.held = self.new_held();
    }

    /// Omits what is not ready at the deadline, if the question is lenient.
    pub(super) fn out_of_time(&mut self) -> Result<(), AskError> {
        let error = self.not_ready();
        let left = self.steps.iter().map(AnswerStep::span);
        match left.reduce(Span::union) {
            Some(span) if self.context.delivery.tolerance.is_lenient() => {
                self.tally.missing.push(Missing { span, error });
                self.steps.clear();
                Ok(())
            }
            Some(_) | None => Err(error),
        }
    }

    /// Whether the deadline is so close that the answer stops waiting for upstream.
    pub(super) fn is_out_of_time(&self) -> bool {
        self.context.delivery.deadline.is_some_and(|deadline| deadline <= Instant::now() + 2 * AFTER_READING)
    }

    /// What is missing at the deadline, and when the budget probably has room for it.
    pub(super) fn not_ready(&self) -> AskError {
        let (pages_read, pages_planned) = self.pages();
        AskError::not_ready(pages_read, pages_planned, |pages| self.room_for(pages))
    }

    /// How many pages were read, and how many remain as far as known: at least one.
    fn pages(&self) -> (u64, u64) {
        let readings = self.steps.iter().filter_map(|step| match step {
            AnswerStep::Read(_, waiter, _) => Some(waiter.reading().progress()),
            AnswerStep::Known(_) | AnswerStep::Later(_) => None,
        });
        let (read, planned) = readings.fold((0, 0), |(r, p), (read, planned)| (r + read, p + planned));
        let done = self.tally.report.upstream_requests;
        // Of some of the newest rows, what a list has below them does not count.
        let planned = self.quota.missing_pages().map_or(planned, |needed| planned.min(read + needed));
        // Something is missing, or this would not be asked.
        (read + done, (planned + done).max(read + done + 1))
    }

    /// The estimated time until the budget has room for this many more pages.
    fn room_for(&self, pages: u64) -> Duration {
        let context = &self.context;
        let (credential, request) = (context.view.scope.subject.credential.id(), &context.request);
        context.state.parts.source.room_for(credential, request.caller, request.urgency, pages)
    }

    /// Extends the `Retry-After` of a refusal for the budget until there is room for everything that is missing, not only for
    /// the next request.
    pub(super) fn with_room_for_the_rest(&self, error: AskError) -> AskError {
        let AskError::Source(SourceError::RateLimited { retry_after, upstream: None }) = error else {
            return error;
        };
        let (read, planned) = self.pages();
        let needed = self.quota.missing_pages();
        let missing = needed.map_or(planned - read, |needed| needed.min(MOST_PAGES_AHEAD));
        let retry_after = retry_after.max(self.room_for(missing));
        SourceError::RateLimited { retry_after, upstream: None }.into()
    }
}

impl Drop for RunningAnswer {
    /// Removes the reads that nobody waits for any more from the scope's list, including those that were
    /// never started. Columns that were made from the answer's rows may have taken room from something else.
    fn drop(&mut self) {
        self.steps.clear();
        if self.from_cache.is_none() {
            self.context.view.scope.lock().readings.retain(|reading| reading.is_open());
        }
        if matches!(self.context.view.need, RowNeed::Columns(_)) {
            let state = &self.context.state;
            scope::make_room(&state.scopes, &*state.parts.store, state.parts.clock.now());
        }
    }
}

impl std::fmt::Debug for RunningAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningAnswer").field("tally", &self.tally).finish_non_exhaustive()
    }
}
