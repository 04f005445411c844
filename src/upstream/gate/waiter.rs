use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::BudgetSlot;
use super::flow::Flow;
use super::lanes::LaneKey;
use super::turns::WaiterId;

/// The longest queue of all callers together.
const MOST_WAITING: usize = 16_384;

/// A queued request.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) lane: LaneKey,
    pub(super) flow: Flow,
    wake: Arc<Notify>,
    pub(super) fate: Option<Fate>,
}

impl Waiter {
    pub(super) const fn new(lane: LaneKey, flow: Flow, wake: Arc<Notify>) -> Self {
        Self { lane, flow, wake, fate: None }
    }
}

/// The decision about a queued request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It is sent, from this instant on, in this slot of its budget.
    Go(Option<BudgetSlot>, Instant),
    /// The breaker opened for this long.
    Refused(Duration),
}

/// All queued requests, and which of them watches the clock.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: HashMap<WaiterId, Waiter>,
    /// The undecided requests.
    undecided: BTreeSet<WaiterId>,
    driver: Option<WaiterId>,
    next: WaiterId,
}

impl Waiters {
    pub(super) fn add(&mut self, waiter: Waiter) -> WaiterId {
        let id = self.next;
        self.next += 1;
        self.all.insert(id, waiter);
        self.undecided.insert(id);
        id
    }

    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.all.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.undecided.len() >= MOST_WAITING
    }

    /// Decides about a request and notifies it.
    pub(super) fn decide(&mut self, id: WaiterId, fate: Fate) {
        if let Some(waiter) = self.all.get_mut(&id) {
            waiter.fate = Some(fate);
            self.undecided.remove(&id);
            waiter.wake.notify_one();
        }
    }

    /// Decides about all queued requests and notifies them.
    pub(super) fn decide_all(&mut self, fate: Fate) {
        while let Some(id) = self.undecided.first().copied() {
            self.decide(id, fate);
            self.undecided.remove(&id);
        }
    }

    /// Wakes the driver to check again.
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = self.driver.and_then(|id| self.all.get(&id)) {
            driver.wake.notify_one();
        }
    }

    /// Wakes one request to check again.
    pub(super) fn wake(&self, id: WaiterId) {
        if let Some(waiter) = self.all.get(&id) {
            waiter.wake.notify_one();
        }
    }

    /// Wakes all requests to check again.
    pub(super) fn wake_all(&self) {
        self.all.values().for_each(|w| w.wake.notify_one());
    }

    /// Whether this request watches the clock. It becomes the driver if there is none.
    pub(super) fn drives(&mut self, id: WaiterId) -> bool {
        *self.driver.get_or_insert(id) == id
    }

    /// Removes a request. If there is no driver then, another one is woken and becomes it.
    ///
    /// Also if it was not the driver: it may have been woken to become the driver, and have had its turn
    /// first.
    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.all.remove(&id)?;
        self.undecided.remove(&id);
        if self.driver == Some(id) {
            self.driver = None;
        }
        // The latest request is the least likely to have its turn next.
        if self.driver.is_none()
            && let Some(heir) = self.undecided.last()
        {
            self.wake(*heir);
        }
        Some(waiter)
    }
}
