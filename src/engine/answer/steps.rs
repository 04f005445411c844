//! How an answer goes through its plan, newest part first.

use tokio::task::coop::consume_budget;

use super::begin::undecided;
use super::context::{AnswerContext, AnswerStep, ReadOrigin};
use super::progress::{Action, StepEvent};
use super::running::RunningAnswer;
use super::tally::RowOrigin;
use crate::domain::{EntryRow, EntrySlice, Span};
use crate::engine::reading::{FoundPiece, ReadAhead};
use crate::engine::terms::AskError;

impl RunningAnswer {
    /// Takes one step: takes a piece from where the plan says, or handles that it is not there.
    pub(super) async fn step(&mut self) -> Result<(), AskError> {
        // Thousands of steps may need no waiting; others must get their turn on this thread all the same.
        consume_budget().await;
        match self.steps.front() {
            None => Ok(()),
            Some(AnswerStep::Known(span)) => {
                let span = *span;
                self.fetch(span).await;
                self.steps.pop_front();
                self.give_known(span)?;
                self.look_ahead();
                Ok(())
            }
            Some(AnswerStep::Later(span)) => {
                let span = *span;
                self.steps.pop_front();
                self.plan(span);
                Ok(())
            }
            Some(AnswerStep::Read(span, waiter, origin)) => {
                let (span, origin) = (*span, *origin);
                self.context.state.reads.start(&self.context.view.scope, waiter.reading());
                waiter.attend();
                waiter.wants(self.rows_wanted());
                let found = waiter.piece_at(span.to()).await;
                match found {
                    Ok(FoundPiece::Piece { span: piece, slices }) => self.took(span, piece, slices, origin),
                    Ok(FoundPiece::Gone) => {
                        self.leave_reading();
                        self.replan(span, StepEvent::Passed)
                    }
                    Err(ended) => {
                        // While this waits, the part is still among the steps: who gives up then knows it is missing.
                        let ended = self.confirmed(ended).await?;
                        self.leave_reading();
                        self.failed(span, ended, origin)
                    }
                }
            }
        }
    }

    /// Delivers the rows at the top of a known span, or plans the span again if they are gone.
    pub(super) fn give_known(&mut self, span: Span) -> Result<(), AskError> {
        match self.take(span)? {
            Some(slice) => {
                self.progress.after(StepEvent::Found);
                self.give(slice, RowOrigin::Hit);
                self.end_if_met();
                Ok(())
            }
            None => self.replan(span, StepEvent::NotKept),
        }
    }

    /// Takes the rows at the top of a known span, and puts the rest of the span back; `None` if nothing is
    /// kept there.
    ///
    /// # Errors
    /// [`AskError::Inconsistent`] if filters are applied here, and a row does not say whether it passes them.
    fn take(&mut self, span: Span) -> Result<Option<Option<EntrySlice>>, AskError> {
        let AnswerContext { state, view, .. } = &self.context;
        let Some((part, slice)) = view.scope.take(&*state.parts.store, span, &view.need) else {
            return Ok(None);
        };
        if slice.as_ref().is_some_and(|slice| !view.decides(slice, part)) {
            return Err(undecided(part));
        }
        if let Some(rest) = span.before(part.from()) {
            self.steps.push_front(AnswerStep::Known(rest));
        }
        Ok(Some(slice.and_then(|slice| view.filtered(slice, part))))
    }

    fn took(
        &mut self,
        span: Span,
        piece: Span,
        slices: Vec<EntrySlice>,
        origin: ReadOrigin,
    ) -> Result<(), AskError> {
        let context = &self.context;
        let Some(part) = piece.intersection(span) else {
            self.leave_reading();
            return self.replan(span, StepEvent::Elsewhere);
        };
        let how = if origin.is_own() { RowOrigin::Miss } else { RowOrigin::Joined };
        let is_due = |row: EntryRow<'_>| part.contains(row.created_at) && context.view.is_due(&row);
        if origin == ReadOrigin::Joined && slices.iter().flat_map(EntrySlice::rows).any(is_due) {
            self.advance(span, part);
            return self.replan(part, StepEvent::Outdated);
        }
        let kept: Vec<EntrySlice> =
            slices.into_iter().filter_map(|slice| context.view.filtered(slice, part)).collect();
        self.progress.after(StepEvent::Found);
        self.advance(span, part);
        kept.into_iter().for_each(|slice| self.give(Some(slice), how));
        self.end_if_met();
        self.look_ahead();
        Ok(())
    }

    /// How many rows of the reading at the front are wanted; `None` if all are.
    fn rows_wanted(&self) -> Option<u64> {
        let proves_early = self.context.view.scope.learned.proves_early();
        // One, where rows are there and the order that they rest on must still be confirmed.
        self.quota.missing().filter(|_| proves_early).map(|rows| rows.max(1))
    }

    /// Drops the remaining parts once there are more rows than wanted.
    ///
    /// One page in order does not prove that a list comes newest first. If nothing more is known about the
    /// list, this waits for the next page.
    fn end_if_met(&mut self) {
        if !self.quota.is_met() {
            return;
        }
        if let Some(AnswerStep::Read(_, waiter, _)) = self.steps.front()
            && waiter.reading().trusts_order()
            && !self.context.view.scope.learned.is_order_known()
        {
            return;
        }
        while !self.steps.is_empty() {
            self.leave_reading();
        }
    }

    /// Continues below a part of the reading at the front.
    fn advance(&mut self, span: Span, part: Span) {
        match (span.before(part.from()), self.steps.front_mut()) {
            (Some(rest), Some(AnswerStep::Read(span, ..))) => *span = rest,
            _ => self.leave_reading(),
        }
    }

    pub(super) fn leave_reading(&mut self) {
        if let Some(AnswerStep::Read(_, waiter, origin)) = self.steps.pop_front()
            && origin.is_own()
        {
            self.tally.report.upstream_requests += waiter.reading().progress().0;
        }
    }

    pub(super) fn give(&mut self, slice: Option<EntrySlice>, how: RowOrigin) {
        let Some(slice) = slice else { return };
        // Only one without a date may come twice: upstream is asked for whole seconds, and it lies in two spans' share.
        let slice = match slice.entry.has_undated() {
            true => slice.filtered(|row| row.is_dated || self.undated.insert(row.id())),
            false => Some(slice),
        };
        if let Some(slice) = slice.and_then(|slice| self.quota.take(slice)) {
            self.tally.add(&slice, how);
            self.ready.push_back(slice);
        }
    }

    /// Plans again a part that is not where it was.
    ///
    /// # Errors
    /// [`AskError::Inconsistent`] if filters are applied here, or if this was tried too often and the answer
    /// may not omit the part.
    pub(super) fn replan(&mut self, span: Span, event: StepEvent) -> Result<(), AskError> {
        if self.context.view.picks() {
            return Err(undecided(span));
        }
        let reads = &mut self.context.reads;
        match self.progress.after(event) {
            Action::Give | Action::Replan => {}
            // What is neither in the buffer nor known must be read again, and not looked for there.
            Action::ReplanAfresh => {
                reads.joins_since = Some(self.context.state.parts.clock.now().next());
                reads.takes_turns &= !self.progress.is_stuck();
            }
            Action::ReplanSinceAsked => reads.joins_since = Some(self.context.view.asked_at),
            Action::GiveUp => {
                let detail = "it was gone again each time before it could be given".to_owned();
                return self.leave_out(span, AskError::Inconsistent { span, detail });
            }
        }
        self.plan(span);
        Ok(())
    }

    pub(super) fn plan(&mut self, span: Span) {
        let context = &self.context;
        let rows = self.quota.missing();
        let plan = context.plan_without_probes(span, rows);
        if let Some(known) = plan.known {
            self.tally.freshness = self.tally.freshness.sooner(known);
        }
        let mut steps = context.steps(&plan.items, plan.gaps, rows);
        steps.extend(plan.rest.map(AnswerStep::Later));
        steps.append(&mut self.steps);
        self.steps = steps;
        self.look_ahead();
    }

    /// Starts the next readings: all of them for a collected answer, and for a stream as many as have a
    /// fan-out of pages between them.
    pub(super) fn look_ahead(&self) {
        let context = &self.context;
        if context.directives.only_if_cached {
            return;
        }
        let mut pages = 0;
        for step in &self.steps {
            if let AnswerStep::Read(_, waiter, _) = step {
                if context.delivery.read_ahead != ReadAhead::Whole
                    && pages >= context.state.parts.settings.fan_out
                {
                    return;
                }
                context.state.reads.start(&context.view.scope, waiter.reading());
                pages += waiter.reading().outstanding();
            }
        }
    }
}
