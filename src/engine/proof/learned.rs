use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::beliefs::Beliefs;
use super::goal::{DateSupport, WalkEnd};
use super::walk::{Order, Walk};
use crate::domain::{Span, Status};
use crate::engine::terms::AskError;

/// The most statuses that are remembered as unsupported filters; upstream has about twenty statuses.
const MAX_REFUSED: usize = 32;

/// How long a list that contradicts itself is not read again, and how many of them are remembered for a
/// scope.
const CONTRADICTED_FOR: Duration = Duration::from_mins(1);
const MAX_CONTRADICTIONS: usize = 64;

/// What is known about upstream's behavior for one scope.
#[derive(Debug)]
pub(in crate::engine) struct Learned {
    dates: DateSupport,
    beliefs: Mutex<Beliefs>,
    order: AtomicU8,
    ending: AtomicU8,
    refused: Mutex<Vec<Status>>,
    repairs: AtomicU64,
    ordered_pages: AtomicU64,
    falls_short: AtomicBool,
    contradictions: Mutex<Vec<Contradiction>>,
}

/// A span whose list contradicts itself.
#[derive(Clone, Debug)]
struct Contradiction {
    span: Span,
    found_at: Instant,
    error: AskError,
}

impl Learned {
    /// Nothing is known yet, except for date support, which is a setting.
    pub(in crate::engine) fn nothing(dates: DateSupport) -> Self {
        Self {
            dates,
            beliefs: Mutex::default(),
            order: AtomicU8::default(),
            ending: AtomicU8::default(),
            refused: Mutex::default(),
            repairs: AtomicU64::default(),
            ordered_pages: AtomicU64::default(),
            falls_short: AtomicBool::default(),
            contradictions: Mutex::default(),
        }
    }

    /// What is currently believed of upstream's pages.
    pub(in crate::engine) fn beliefs(&self) -> Beliefs {
        let mut beliefs = self.beliefs.lock();
        beliefs.refresh(Instant::now());
        *beliefs
    }

    /// Records the size of a page.
    pub(in crate::engine) fn saw(&self, rows: usize) {
        self.beliefs.lock().saw(rows);
    }

    /// Pages have at most this many rows, although more were requested.
    pub(in crate::engine) fn resized(&self, rows: usize) {
        self.beliefs.lock().resize(rows, Instant::now());
    }

    /// A page of this many rows was truncated, although more were requested.
    pub(in crate::engine) fn cut_off_at(&self, rows: usize) {
        self.beliefs.lock().shrink(rows);
    }

    /// Rows contradict `has_more`.
    pub(in crate::engine) fn disbelieve_has_more(&self) {
        self.beliefs.lock().has_more = false;
    }

    /// `total` counts something other than the rows of the question.
    pub(in crate::engine) fn disbelieve_total(&self) {
        self.beliefs.lock().total = false;
    }

    /// Numbered pages omit rows.
    pub(in crate::engine) fn disbelieve_numbers(&self) {
        self.beliefs.lock().numbers = false;
    }

    /// Adopts what a walk has found out.
    pub(in crate::engine) fn learn_from(&self, walk: &Walk) {
        let (found, mut beliefs) = (walk.beliefs(), self.beliefs.lock());
        beliefs.has_more &= found.has_more;
        beliefs.total &= found.total;
    }

    /// Why a span is not read for now: a list in it contradicted itself a short while ago.
    pub(in crate::engine) fn contradiction(&self, span: Span) -> Option<AskError> {
        let mut known = self.contradictions.lock();
        known.retain(|known| known.found_at.elapsed() < CONTRADICTED_FOR);
        known.iter().find(|known| known.span.intersection(span).is_some()).map(|known| known.error.clone())
    }

    /// Records a list that contradicts itself.
    pub(in crate::engine) fn contradicted(&self, span: Span, error: &AskError) {
        let mut known = self.contradictions.lock();
        if known.len() >= MAX_CONTRADICTIONS {
            known.remove(0);
        }
        known.push(Contradiction { span, found_at: Instant::now(), error: error.clone() });
    }

    /// Records that a walk without dates fell short of its total; returns whether the previous one did, too.
    pub(in crate::engine) fn fell_short(&self) -> bool {
        self.falls_short.swap(true, Ordering::Relaxed)
    }

    /// Records a proven walk.
    pub(in crate::engine) fn walked(&self, walk: &Walk) {
        self.falls_short.store(false, Ordering::Relaxed);
        if walk.has_shown_order() {
            self.ending.store(1, Ordering::Relaxed);
        }
        if walk.order() == Order::Other {
            self.ending.store(0, Ordering::Relaxed);
        }
    }

    /// Where a walk may end: below its region if a complete list was newest first and none since was not.
    /// This matters only if upstream ignores dates; otherwise a list ends with its region.
    pub(in crate::engine) fn ending(&self) -> WalkEnd {
        match self.dates {
            DateSupport::Ignored if self.ending.load(Ordering::Relaxed) == 1 => WalkEnd::BelowRegion,
            DateSupport::Ignored | DateSupport::Kept => WalkEnd::AtItsEnd,
        }
    }

    /// Whether a list is proven from the top down as its pages arrive, not only at its end.
    pub(in crate::engine) fn proves_early(&self) -> bool {
        match self.dates {
            DateSupport::Kept => true,
            DateSupport::Ignored => self.ending() == WalkEnd::BelowRegion,
        }
    }

    pub(in crate::engine) const fn dates(&self) -> DateSupport {
        self.dates
    }

    /// The order that lists are assumed to have until a page contradicts it.
    pub(in crate::engine) fn order(&self) -> Order {
        if self.order.load(Ordering::Relaxed) == 0 { Order::NewestFirst } else { Order::Other }
    }

    /// Records that a walk accepted another page, newest first.
    pub(in crate::engine) fn ordered_page(&self) {
        self.ordered_pages.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether enough pages were seen to assume that lists are newest first.
    pub(in crate::engine) fn is_order_known(&self) -> bool {
        self.ordered_pages.load(Ordering::Relaxed) >= 2 && self.order() == Order::NewestFirst
    }

    /// Records that a list seemed to be newest first and was not.
    pub(in crate::engine) fn disordered(&self) {
        self.order.store(1, Ordering::Relaxed);
        self.ending.store(0, Ordering::Relaxed);
    }

    /// Records that upstream does not support this status as a filter.
    pub(in crate::engine) fn refused(&self, status: &Status) {
        let mut refused = self.refused.lock();
        if refused.len() < MAX_REFUSED && !refused.contains(status) {
            refused.push(status.clone());
        }
    }

    /// The statuses that upstream does not support as filters.
    pub(in crate::engine) fn refused_statuses(&self) -> Vec<Status> {
        self.refused.lock().clone()
    }

    pub(in crate::engine) fn repaired(&self) {
        self.repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many walks had to be repaired.
    pub(in crate::engine) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}
