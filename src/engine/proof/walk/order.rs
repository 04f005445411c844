use std::collections::VecDeque;

use crate::domain::{NewRow, Timestamp};
use crate::engine::proof::goal::DateSupport;

/// How many rows at the end of a page wait for the next page to confirm the order.
pub(super) const UNCONFIRMED: usize = 4;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Order {
    /// Newest `created_at` first.
    NewestFirst,
    /// Another one, so that no part of the list says anything about a span.
    Other,
}

/// When a row was created and last changed, if upstream says both.
#[derive(Clone, Copy, Debug)]
struct Instants {
    created_at: Timestamp,
    changed_at: Option<Timestamp>,
}

/// The order of a list, as far as its pages have shown it.
#[derive(Debug)]
pub(super) struct ListOrder {
    order: Order,
    /// Of the last row that has a date.
    last_instant: Option<Timestamp>,
    last_change: Option<Timestamp>,
    /// Of the last rows, for [`Self::confirmed`].
    last_few: VecDeque<Instants>,
    /// Whether no row was changed later than a row before it: the list may then also be sorted by last
    /// change.
    may_be_by_change: bool,
    /// Whether any row was older than a row before it.
    descends: bool,
}

/// A row belongs above rows that were already emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

impl ListOrder {
    /// The order that the list is assumed to have until a row contradicts it.
    pub(super) fn of(order: Order) -> Self {
        Self {
            order,
            last_instant: None,
            last_change: None,
            last_few: VecDeque::with_capacity(UNCONFIRMED + 1),
            may_be_by_change: true,
            descends: false,
        }
    }

    /// Follows the order through the rows of a page. `was_given` says whether the rows of an instant were
    /// already emitted.
    pub(super) fn follow(
        &mut self,
        rows: &[NewRow],
        was_given: impl Fn(Timestamp) -> bool,
    ) -> Result<(), OutOfOrder> {
        for NewRow { created_at, row, .. } in rows {
            let created_at = *created_at;
            // A row without a date says nothing about the order, wherever it was placed.
            if row.created_at.is_some() {
                if self.last_instant.is_some_and(|last| created_at > last) {
                    self.order = Order::Other;
                }
                if was_given(created_at) {
                    return Err(OutOfOrder);
                }
                self.descends |= self.last_instant.is_some_and(|last| created_at < last);
                self.last_instant = Some(created_at);
            }
            if self.last_few.len() > UNCONFIRMED {
                self.last_few.pop_front();
            }
            let changed_at = row.created_at.and(row.updated_at).map(|at| at.max(created_at));
            self.may_be_by_change &= match (changed_at, self.last_change) {
                (Some(at), Some(last)) => at <= last,
                (Some(_), None) | (None, _) => true,
            };
            self.last_change = changed_at.or(self.last_change);
            self.last_few.push_back(Instants { created_at, changed_at });
        }
        Ok(())
    }

    /// The order of the list, as far as seen.
    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// The instant of the last row that has one.
    pub(super) const fn last_instant(&self) -> Option<Timestamp> {
        self.last_instant
    }

    /// Whether rows descended, and none ascended.
    pub(super) fn has_shown(&self) -> bool {
        self.order == Order::NewestFirst && self.descends
    }

    /// The instant above which no further row can come if the list is newest first; `None` while that is
    /// unknown.
    pub(super) fn confirmed(&self, dates: DateSupport) -> Option<Timestamp> {
        if !self.has_shown() || self.last_few.len() <= UNCONFIRMED {
            return None;
        }
        let mut latest = None;
        for instants in &self.last_few {
            let at = match (dates, instants.changed_at) {
                (DateSupport::Kept, Some(changed_at)) if self.may_be_by_change => changed_at,
                (DateSupport::Kept, _) => instants.created_at,
                (DateSupport::Ignored, changed_at) => changed_at?,
            };
            latest = latest.max(Some(at));
        }
        latest
    }
}
