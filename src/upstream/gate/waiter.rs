use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::breaker::Who;
use super::breakers::Roles;
use super::budget::BudgetSlot;
use super::flow::Flow;
use super::lanes::LaneKey;
use super::turns::WaiterId;
use super::{Gate, GateRefusal, GateState, Pass, PassRequest};

/// The longest queue of all callers together.
const MOST_WAITING: usize = 16_384;

/// The shortest `Retry-After`.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A queued request.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) lane: LaneKey,
    pub(super) flow: Flow,
    wake: Arc<Notify>,
    fate: Option<Fate>,
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
    fn drives(&mut self, id: WaiterId) -> bool {
        *self.driver.get_or_insert(id) == id
    }

    /// Removes a request. If there is no driver then, another one is woken and becomes it.
    ///
    /// Also if it was not the driver: it may have been woken to become the driver, and have had its turn
    /// first.
    fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
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

/// Waits for a turn; see [`Gate::enter`].
pub(super) async fn enter(gate: &Gate, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
    let mut line = InLine::join(gate, asker, Instant::now())?;
    loop {
        match line.step(asker) {
            WaitStep::Go(pass) => return Ok(pass),
            WaitStep::Refused(refusal) => return Err(refusal),
            WaitStep::Wait(Some(until)) => {
                tokio::select! {
                    () = line.wake.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            WaitStep::Wait(None) => line.wake.notified().await,
        }
    }
}

/// A place in the queue. Dropping it releases what it holds.
struct InLine {
    gate: Gate,
    id: WaiterId,
    roles: Roles,
    wake: Arc<Notify>,
}

enum WaitStep {
    Go(Pass),
    Refused(GateRefusal),
    Wait(Option<Instant>),
}

impl InLine {
    fn join(gate: &Gate, asker: PassRequest<'_>, now: Instant) -> Result<Self, GateRefusal> {
        let mut state = gate.lock();
        let flow = asker.flow();
        let lane = state.lanes.key(asker.credential, now);
        if state.waiters.undecided.len() >= MOST_WAITING
            || state.lanes.get(lane).is_some_and(|lane| lane.is_full(&flow))
        {
            return Err(no_room(&mut state, lane, &flow, now));
        }
        let roles = state
            .breakers
            .admit(Who { group: flow.group, agent: asker.agent }, now)
            .map_err(GateRefusal::Down)?;
        let wake = Arc::new(Notify::new());
        let id = state.line_up(Waiter { lane, flow, wake: Arc::clone(&wake), fate: None });
        Ok(Self { gate: gate.clone(), id, roles, wake })
    }

    fn step(&mut self, asker: PassRequest<'_>) -> WaitStep {
        let now = Instant::now();
        let gate = self.gate.clone();
        let mut guard = gate.lock();
        let state = &mut *guard;
        let next = state.pump(now);
        let Some(Waiter { lane: key, flow, fate, .. }) = state.waiters.get(self.id).cloned() else {
            return WaitStep::Refused(GateRefusal::Busy);
        };
        match fate {
            Some(Fate::Go(place, sent)) => {
                state.waiters.remove(self.id);
                let roles = std::mem::replace(&mut self.roles, Roles::ORDINARY);
                let place = place.and_then(|p| Some(state.lanes.get(key)?.budget.sent(p, now)));
                let gate = self.gate.clone();
                return WaitStep::Go(Pass { gate, lane: key, flow, place, roles, sent });
            }
            Some(Fate::Refused(rest)) => return WaitStep::Refused(GateRefusal::Down(rest)),
            None => {}
        }
        let give_up = give_up(asker);
        if let (Some(give_up), Some(lane)) = (give_up, state.lanes.get(key)) {
            let earliest = lane.earliest(&flow, now);
            if now >= give_up || earliest > give_up {
                return WaitStep::Refused(if earliest > now {
                    no_room(state, key, &flow, now)
                } else {
                    state.others_first(key, &flow, now)
                });
            }
        }
        if let Some(lane) = state.lanes.get(key)
            && lane.is_barren(&flow, asker.context.retry_for, now)
        {
            return WaitStep::Refused(no_room(state, key, &flow, now));
        }
        let watched = if state.waiters.drives(self.id) {
            next
        } else {
            // This request's time may be earlier than the one that the driver sleeps for.
            state.waiters.wake_driver();
            None
        };
        WaitStep::Wait([watched, give_up].into_iter().flatten().min())
    }
}

/// Refuses a request until it is likely to be sent.
pub(super) fn no_room(state: &mut GateState, lane: LaneKey, flow: &Flow, now: Instant) -> GateRefusal {
    let at = state.lanes.get(lane).map_or(now, |lane| lane.promise(flow, now));
    GateRefusal::NoRoom(at.saturating_duration_since(now).max(LEAST_WAIT))
}

/// When waiting any longer is pointless.
fn give_up(asker: PassRequest<'_>) -> Option<Instant> {
    let patience = asker.context.budget_wait.and_then(|wait| asker.since.checked_add(wait));
    let deadline = asker.context.deadline.as_ref().map(crate::source::Deadline::instant);
    [patience, deadline].into_iter().flatten().min()
}

impl Drop for InLine {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        let Some(waiter) = state.waiters.remove(self.id) else { return };
        let Flow { group, agent, .. } = waiter.flow;
        state.breakers.abandoned(Who { group, agent }, self.roles, now);
        match waiter.fate {
            None => state.leave_line(self.id, &waiter),
            Some(Fate::Go(place, _)) => {
                if let (Some(place), Some(lane)) = (place, state.lanes.get(waiter.lane)) {
                    lane.budget.give_back(place);
                }
                state.end(waiter.lane, &waiter.flow, now);
            }
            Some(Fate::Refused(_)) => {}
        }
    }
}
