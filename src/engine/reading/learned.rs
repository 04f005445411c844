use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::walk::{Dates, Ending, Order, Walk};
use crate::domain::Status;

/// The most statuses that are remembered as no filters; upstream knows some twenty.
const MAX_REFUSED: usize = 32;

/// What was found out about how upstream answers for one scope. Only ever a reason to read otherwise, never one to
/// believe less proof.
#[derive(Debug)]
pub(in crate::engine) struct Learned {
    total: AtomicU8,
    dates: Dates,
    order: AtomicU8,
    ending: AtomicU8,
    refused: Mutex<Vec<Status>>,
    repairs: AtomicU64,
    ordered_pages: AtomicU64,
    falls_short: AtomicBool,
}

/// What upstream's `total` was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Total {
    /// Nothing known, or it counts the rows of the question.
    Plausible,
    /// It counts something else, so that no walk can be planned by it.
    Other,
}

impl Learned {
    /// Nothing but how upstream deals with dates, which is a setting.
    pub(in crate::engine) fn nothing(dates: Dates) -> Self {
        Self {
            dates,
            total: AtomicU8::default(),
            order: AtomicU8::default(),
            ending: AtomicU8::default(),
            refused: Mutex::default(),
            repairs: AtomicU64::default(),
            ordered_pages: AtomicU64::default(),
            falls_short: AtomicBool::default(),
        }
    }

    pub(super) fn total(&self) -> Total {
        if self.total.load(Ordering::Relaxed) == 0 { Total::Plausible } else { Total::Other }
    }

    /// Whether nothing is made of a walk that brings fewer rows than its total says. Where the list is newest first and
    /// keeps to the dates, that is what the total was found to be; elsewhere the walk before fell short as well.
    pub(super) fn is_used_to_short(&self, order: Order) -> bool {
        match (order, self.dates) {
            (Order::NewestFirst, Dates::Kept) => self.total() == Total::Other,
            (Order::NewestFirst | Order::Other, _) => self.falls_short.load(Ordering::Relaxed),
        }
    }

    /// A walk was proven. In a list that is not newest first a total that counts something else is still the best
    /// there is to plan by.
    pub(super) fn walked(&self, walk: &Walk) {
        if let (Some(total), Some(rows)) = (walk.total(), walk.count()) {
            self.falls_short.store(rows < total, Ordering::Relaxed);
        }
        if let (Order::NewestFirst, Some(rows)) = (walk.order(), walk.count()) {
            let is_other = walk.total().is_some_and(|total| total != rows);
            self.total.store(u8::from(is_other), Ordering::Relaxed);
        }
        if walk.has_shown_order() {
            self.ending.store(1, Ordering::Relaxed);
        }
        if walk.order() == Order::Other {
            self.ending.store(0, Ordering::Relaxed);
        }
    }

    /// Where a walk may end: below its region once a whole list was seen to be newest first, and none to be otherwise
    /// since. That matters where the dates are ignored; else a list ends with its region.
    pub(super) fn ending(&self) -> Ending {
        match self.dates {
            Dates::Ignored if self.ending.load(Ordering::Relaxed) == 1 => Ending::BelowRegion,
            Dates::Ignored | Dates::Kept => Ending::AtItsEnd,
        }
    }

    pub(in crate::engine) const fn dates(&self) -> Dates {
        self.dates
    }

    /// In which order lists are taken to come until a page says otherwise.
    pub(super) fn order(&self) -> Order {
        if self.order.load(Ordering::Relaxed) == 0 { Order::NewestFirst } else { Order::Other }
    }

    /// A walk accepted another page, newest first.
    pub(super) fn ordered_page(&self) {
        self.ordered_pages.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether enough was seen to take lists for newest first.
    pub(in crate::engine) fn is_order_known(&self) -> bool {
        self.ordered_pages.load(Ordering::Relaxed) >= 2 && self.order() == Order::NewestFirst
    }

    /// A list looked as if it came newest first, and did not.
    pub(super) fn disordered(&self) {
        self.order.store(1, Ordering::Relaxed);
        self.ending.store(0, Ordering::Relaxed);
    }

    /// Upstream takes this status for no filter.
    pub(in crate::engine) fn refused(&self, status: &Status) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MAX_REFUSED && !refused.contains(status) {
            refused.push(status.clone());
        }
    }

    /// The statuses that upstream takes for no filter.
    pub(in crate::engine) fn refused_statuses(&self) -> Vec<Status> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn repaired(&self) {
        self.repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many walks had to be repaired.
    pub(in crate::engine) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}
