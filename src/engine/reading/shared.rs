use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::first_page::Prefetch;
use super::sink::{Ended, Pages, PagesAsked, Sink};
use super::turn::ReadingTurn;
use crate::domain::{EntrySlice, MAX_PAGE_SIZE, Span, Status, Timestamp};
use crate::engine::coverage::Piece;
use crate::source::{RequestContext, SentAt};

/// The purpose of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Purpose {
    /// To know a span.
    Fill,
    /// To find out which rows of a span are still in this status.
    Probe(Status),
}

/// A read that is in progress, or about to start.
#[derive(Debug)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) span: Span,
    pub(in crate::engine) purpose: Purpose,
    /// For a reading that ends at the present: when the present was determined, by our clock.
    pub(in crate::engine) head_pinned_at: Option<Timestamp>,
    /// Whether its results may be stored (`no-store`).
    pub(in crate::engine) keep: Keep,
    /// How it takes turns with other processes at the tier.
    pub(in crate::engine) turn: ReadingTurn,
    pub(in crate::engine) context: RequestContext,
    /// Its first page, if that is already in flight.
    pub(in crate::engine) prefetch: Option<Arc<Prefetch>>,
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    pub(super) fan_out: usize,
    state: Mutex<ReadState>,
    pub(super) changed: Notify,
}

/// Whether results may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Keep {
    Yes,
    No,
}

#[derive(Debug, Default)]
pub(super) struct ReadState {
    pub(super) phase: ReadPhase,
    pub(super) buffer: VecDeque<BufferedPiece>,
    /// Everything in the span above this instant was emitted.
    pub(super) given_above: Option<Timestamp>,
    pub(super) waiters: HashMap<u64, WaiterState>,
    first: FirstRequest,
    /// Whether it emitted rows because the list looks newest first, without having seen its end.
    trusts_order: bool,
    pages_planned: u32,
    pages_read: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) enum ReadPhase {
    #[default]
    Idle,
    Running,
    Over(Result<(), Ended>),
}

/// The first request that returned something.
#[derive(Clone, Debug, Default)]
enum FirstRequest {
    #[default]
    Planned,
    Asked(SentAt),
    Answered {
        sent_at: Instant,
    },
}

/// The state of a read's first request. All results of a read are at least as recent as its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum RequestStage {
    /// No page was requested yet.
    Planned,
    /// It waits for its turn.
    Waiting,
    /// It was sent at this time.
    Sent(Instant),
}

/// A stored piece that waits to be taken.
#[derive(Clone, Debug)]
pub(super) struct BufferedPiece {
    pub(super) span: Span,
    pub(super) slices: Vec<EntrySlice>,
    pub(super) is_taken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct WaiterState {
    /// Everything above this was taken.
    pub(super) at: Timestamp,
    pub(super) read_ahead: ReadAhead,
    /// How many rows are wanted; `None` for all.
    pub(super) need: Option<Need>,
}

/// How many rows are wanted of a reading: those at an instant and below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) rows: u64,
    pub(super) at: Timestamp,
}

/// How far ahead of an answer its reads may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum ReadAhead {
    /// It collects: without limit.
    Whole,
    /// It streams, and is at this reading: a fan-out.
    Next,
    /// It streams, and is still at another reading: a little.
    Later,
}

/// How many pages a reading fetches before any answer is at it.
const PAGES_AHEAD: usize = 2;

/// What an answer finds in a reading.
#[derive(Debug)]
pub(in crate::engine) enum FoundPiece {
    /// The rows of this span, newest first.
    Piece { span: Span, slices: Vec<EntrySlice> },
    /// They were here and are gone: the coverage has them, or they are a gap again.
    Gone,
}

impl Reading {
    #[expect(clippy::too_many_arguments, reason = "a record, made in one place")]
    pub(in crate::engine) fn new(
        span: Span,
        purpose: Purpose,
        head_pinned_at: Option<Timestamp>,
        keep: Keep,
        takes_turns: bool,
        context: RequestContext,
        prefetch: Option<Arc<Prefetch>>,
        in_flight: Arc<Semaphore>,
        fan_out: usize,
    ) -> Arc<Self> {
        let (state, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self {
            span,
            purpose,
            head_pinned_at,
            keep,
            turn: ReadingTurn { is_taken: takes_turns, ..ReadingTurn::default() },
            context,
            prefetch,
            in_flight,
            fan_out,
            state,
            changed,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ReadState> {
        self.state.lock()
    }

    /// Whether callers may still join: there is a waiter, and it is not over.
    pub(in crate::engine) fn is_open(&self) -> bool {
        let state = self.lock();
        !matches!(state.phase, ReadPhase::Over(_)) && !state.waiters.is_empty()
    }

    /// Whether the caller has to start it; true once.
    pub(in crate::engine) fn claim_start(&self) -> bool {
        let mut state = self.lock();
        let is_idle = matches!(state.phase, ReadPhase::Idle);
        if is_idle {
            state.phase = ReadPhase::Running;
        }
        is_idle
    }

    /// The state of its first request, which may have been sent ahead.
    pub(in crate::engine) fn request(&self) -> RequestStage {
        match &self.lock().first {
            FirstRequest::Planned => {
                let sent_ahead = self.prefetch.as_ref().and_then(|prefetch| prefetch.sent.sent_at());
                sent_ahead.map_or(RequestStage::Planned, RequestStage::Sent)
            }
            FirstRequest::Asked(sent) => sent.sent_at().map_or(RequestStage::Waiting, RequestStage::Sent),
            FirstRequest::Answered { sent_at } => RequestStage::Sent(*sent_at),
        }
    }

    /// Whether it already emitted the rows at an instant and no longer has them: only the coverage may have
    /// them, and it does not if they may not be stored.
    pub(in crate::engine) fn has_passed(&self, instant: Timestamp) -> bool {
        let state = self.lock();
        state.given_above.is_some_and(|given| instant > given)
            && !state.buffer.iter().any(|buffered| buffered.span.contains(instant))
    }

    /// Returns when there is no waiter any more.
    pub(in crate::engine) async fn abandoned(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().waiters.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Puts a piece into the buffer.
    pub(in crate::engine) fn put(&self, span: Span, slices: Vec<EntrySlice>) {
        let mut state = self.lock();
        state.given_above = Some(span.from().previous());
        state.buffer.push_back(BufferedPiece { span, slices, is_taken: false });
        state.clear_buffer(self.fan_out);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether it emitted rows because the list looks newest first, without having seen its end.
    pub(in crate::engine) fn trusts_order(&self) -> bool {
        self.lock().trusts_order
    }

    /// Ends it.
    pub(in crate::engine) fn finish(&self, end: Result<(), Ended>) {
        self.lock().phase = ReadPhase::Over(end);
        self.changed.notify_waiters();
    }

    /// Counts pages.
    pub(in crate::engine) fn count(&self, pages: Pages) {
        let mut state = self.lock();
        match pages {
            Pages::Planned(planned) => state.pages_planned = state.pages_planned.max(planned),
            Pages::Read { sent_at } => {
                state.pages_read += 1;
                if !matches!(state.first, FirstRequest::Answered { .. }) {
                    state.first = FirstRequest::Answered { sent_at };
                }
            }
        }
    }

    /// Pages read, and pages known to be needed.
    pub(in crate::engine) fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        (state.pages_read.into(), state.pages_planned.max(state.pages_read).max(1).into())
    }

    /// How many pages are in its buffer or still to come, as far as known; one if nothing is known.
    pub(in crate::engine) fn outstanding(&self) -> usize {
        let state = self.lock();
        let to_come = match state.phase {
            ReadPhase::Over(_) => 0,
            ReadPhase::Idle | ReadPhase::Running => {
                (state.pages_planned.saturating_sub(state.pages_read)).max(1) as usize
            }
        };
        to_come + state.buffer.len()
    }

    /// Returns when there is room for another page in addition to those requested.
    ///
    /// Within a stream's fan-out, a page makes room as soon as it has arrived, so that the next one is
    /// requested before it is processed. If only a number of rows is wanted, it may be the last page needed.
    pub(in crate::engine) async fn room(&self, pages: PagesAsked) -> Result<(), Ended> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if state.waiters.is_empty() {
                    return Err(Ended::Unwanted);
                }
                let fastest = state.fastest();
                let ahead = state
                    .buffer
                    .iter()
                    .filter(|buffered| !buffered.is_taken && buffered.span.from() <= fastest)
                    .count();
                // Rows that no present waiter needs are skipped on the way down; waiting for them would stop
                // the reading.
                let is_above = state.given_above.unwrap_or(self.span.to()) > fastest;
                let has_room = |waiting: &WaiterState| {
                    let read_ahead = waiting.read_ahead.limit(self.fan_out);
                    (is_above || ahead.saturating_add(pages.sent) < read_ahead)
                        && waiting.need.is_none_or(|need| pages.open < state.pages_for(need))
                };
                if state.waiters.values().any(has_room) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}

impl ReadAhead {
    const fn limit(self, fan_out: usize) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Next => fan_out,
            Self::Later => PAGES_AHEAD,
        }
    }
}

impl ReadState {
    /// How far down the fastest waiter is that is at this reading; if none is, the fastest of those still to
    /// come.
    fn fastest(&self) -> Timestamp {
        let here = self
            .waiters
            .values()
            .filter(|waiting| waiting.read_ahead != ReadAhead::Later)
            .map(|w| w.at)
            .min();
        here.or_else(|| self.waiters.values().map(|w| w.at).max()).unwrap_or(Timestamp::MAX)
    }

    /// How many pages are needed in addition to those in the buffer.
    fn pages_for(&self, need: Need) -> usize {
        let buffered = self.buffer.iter().filter(|buffered| buffered.span.from() <= need.at);
        let there: usize = buffered.flat_map(|buffered| &buffered.slices).map(EntrySlice::len).sum();
        usize::try_from(need.rows.saturating_sub(there as u64)).unwrap_or(usize::MAX).div_ceil(MAX_PAGE_SIZE)
    }

    /// Drops from the buffer the rows that all waiters have passed, and, if all of them stream, those that
    /// the fastest passed long ago.
    pub(super) fn clear_buffer(&mut self, fan_out: usize) {
        let collects = self.waiters.values().any(|waiting| waiting.read_ahead == ReadAhead::Whole);
        while let Some(first) = self.buffer.front() {
            let all_passed = self.waiters.values().all(|waiting| waiting.at < first.span.from());
            let is_far_behind =
                !collects && first.span.from() > self.fastest() && self.buffer.len() > 2 * fan_out;
            if !all_passed && !is_far_behind {
                return;
            }
            self.buffer.pop_front();
        }
    }
}

/// The sink of a reading: stores what is proven by `store`, and puts it into the buffer.
pub(in crate::engine) struct ReadingSink<'a, F> {
    pub(in crate::engine) reading: &'a Reading,
    pub(in crate::engine) store: F,
}

impl<F: Fn(Piece) -> (Span, Vec<EntrySlice>) + Sync> Sink for ReadingSink<'_, F> {
    fn room(&self, pages: PagesAsked) -> BoxFuture<'_, Result<(), Ended>> {
        Box::pin(async move {
            self.reading.turn.pause();
            let room = self.reading.room(pages).await;
            self.reading.turn.resume().await;
            room
        })
    }

    fn wanted(&self) -> Result<(), Ended> {
        if self.reading.lock().waiters.is_empty() { Err(Ended::Unwanted) } else { Ok(()) }
    }

    fn give(&self, piece: Piece) {
        let (span, slices) = (self.store)(piece);
        self.reading.put(span, slices);
    }

    fn trusts_order(&self) {
        self.reading.lock().trusts_order = true;
    }

    fn asks(&self, sent: &SentAt) {
        let mut state = self.reading.lock();
        // A page that was requested earlier and returned nothing does not tell when this read was sent.
        if !matches!(state.first, FirstRequest::Answered { .. }) {
            state.first = FirstRequest::Asked(sent.clone());
        }
    }

    fn count(&self, pages: Pages) {
        self.reading.count(pages);
    }
}
