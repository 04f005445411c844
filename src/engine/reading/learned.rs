use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::walk::{Dates, Order};

/// What was found out about how upstream answers for one scope. Only ever a reason to read otherwise, never one to
/// believe less proof.
#[derive(Debug, Default)]
pub(in crate::engine) struct Learned {
    total: AtomicU8,
    dates: AtomicU8,
    order: AtomicU8,
    repairs: AtomicU64,
    ordered_pages: AtomicU64,
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
    pub(super) fn total(&self) -> Total {
        if self.total.load(Ordering::Relaxed) == 0 { Total::Plausible } else { Total::Other }
    }

    /// A proven walk saw this many rows while `total` was given. In a list that is not newest first a total that
    /// counts something else is still the best there is to plan by.
    pub(super) fn count(&self, total: Option<u64>, rows: u64, order: Order) {
        if order == Order::NewestFirst {
            let is_other = total.is_some_and(|total| total != rows);
            self.total.store(u8::from(is_other), Ordering::Relaxed);
        }
    }

    pub(in crate::engine) fn dates(&self) -> Dates {
        if self.dates.load(Ordering::Relaxed) == 0 { Dates::Kept } else { Dates::Ignored }
    }

    pub(in crate::engine) fn dates_ignored(&self) {
        self.dates.store(1, Ordering::Relaxed);
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
    }

    pub(super) fn repaired(&self) {
        self.repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many walks had to be repaired.
    pub(in crate::engine) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}
