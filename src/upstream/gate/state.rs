use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::breakers::Breakers;
use super::budget::RequestClass;
use super::connections::Connections;
use super::flow::{Branch, Flow, ShareGroup};
use super::lanes::{LaneKey, Lanes};
use super::turns::{Turns, WaiterId};
use super::waiter::{Fate, Waiter, Waiters};

/// The shortest `Retry-After`.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateRefusal {
    /// The budget has no room in time; it may have after this long.
    NoRoom(Duration),
    /// The budget has room, but no connection became free.
    Busy,
    /// The breaker is open for this long.
    Down(Duration),
}

/// The state of the gate. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct SharedGate(Arc<Mutex<GateState>>);

impl SharedGate {
    pub(super) fn new(lanes: Lanes, concurrency: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(GateState {
            connections: Connections::new(concurrency.get()),
            lanes,
            breakers: Breakers::new(),
            waiters: Waiters::default(),
        })))
    }

    /// No invariant spans two critical sections.
    pub(super) fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock()
    }
}

#[derive(Debug)]
pub(super) struct GateState {
    pub(super) connections: Connections,
    pub(super) lanes: Lanes,
    pub(super) breakers: Breakers,
    pub(super) waiters: Waiters,
}

impl GateState {
    /// Sends every request whose turn it is. Returns when to check again; `None` if only the end of a request
    /// makes room.
    pub(super) fn pump(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut passed_by = 0;
        while passed_by < self.lanes.busy.len() && self.connections.has_room() {
            let Some(key) = self.lanes.busy.pop_front() else { break };
            let Some(lane) = self.lanes.get(key) else { continue };
            match lane.next(&self.connections, now) {
                Ok(id) => {
                    if let Some(flow) = self.waiters.get(id).map(|waiter| waiter.flow) {
                        let Flow { group, urgency, branch, .. } = flow;
                        let slot = lane.budget.take(RequestClass { urgency, group, branch }, now);
                        lane.adaptive_rate.sent(now);
                        lane.troubles.sent(group, branch, now);
                        lane.in_flight += 1;
                        self.connections.take(group, branch);
                        self.waiters.decide(id, Fate::Go(slot, now));
                    }
                    passed_by = 0;
                }
                Err(at) => {
                    next = at.map(|at| next.map_or(at, |n| n.min(at))).or(next);
                    passed_by += 1;
                }
            }
            if self.lanes.get(key).is_some_and(|lane| lane.turns.len() > 0) {
                self.lanes.busy.push_back(key);
            }
        }
        next
    }

    /// Queues a request.
    pub(super) fn line_up(&mut self, waiter: Waiter) -> WaiterId {
        let (key, flow) = (waiter.lane, waiter.flow);
        let id = self.waiters.add(waiter);
        if let Some(lane) = self.lanes.get(key) {
            let is_first = lane.turns.len() == 0;
            lane.turns.push(&flow, id);
            if is_first {
                self.lanes.busy.push_back(key);
            }
        }
        id
    }

    /// Removes a request that no longer waits from its queue.
    pub(super) fn leave_line(&mut self, id: WaiterId, waiter: &Waiter) {
        if let Some(lane) = self.lanes.get(waiter.lane) {
            lane.turns.remove(&waiter.flow, id);
            if lane.turns.len() == 0 {
                self.lanes.busy.retain(|key| *key != waiter.lane);
            }
        }
    }

    /// Frees the connection of a request that passed.
    pub(super) fn end(&mut self, key: LaneKey, flow: &Flow, now: Instant) {
        if let Some(lane) = self.lanes.get(key) {
            lane.in_flight -= 1;
        }
        self.connections.give_back(flow.group, flow.branch);
        self.pump(now);
        self.waiters.wake_driver();
    }

    /// Refuses a request until it is likely to be sent.
    pub(super) fn no_room(&mut self, lane: LaneKey, flow: &Flow, now: Instant) -> GateRefusal {
        let at = self.lanes.get(lane).map_or(now, |lane| lane.promise(flow, now));
        GateRefusal::NoRoom(at.saturating_duration_since(now).max(LEAST_WAIT))
    }

    /// Why a request was not sent although the budget has room: others were first, or no connection was free.
    pub(super) fn others_first(&mut self, key: LaneKey, flow: &Flow, now: Instant) -> GateRefusal {
        if flow.group != ShareGroup::Unproven && !self.connections.has_room() {
            return GateRefusal::Busy;
        }
        self.no_room(key, flow, now)
    }

    /// Refuses the queued requests of a caller, or of one of its agents, because upstream is down for them.
    pub(super) fn refuse(&mut self, key: LaneKey, group: ShareGroup, branch: Option<Branch>, rest: Duration) {
        let waiting = self.lanes.get(key).map(|lane| lane.turns.waiting(group, branch));
        for id in waiting.into_iter().flatten() {
            if let Some(waiter) = self.waiters.get(id).cloned() {
                self.leave_line(id, &waiter);
                self.waiters.decide(id, Fate::Refused(rest));
            }
        }
    }

    /// Refuses all queued requests, because upstream is down for this long.
    pub(super) fn refuse_all(&mut self, rest: Duration) {
        for lane in self.lanes.all() {
            lane.turns = Turns::default();
        }
        self.lanes.busy.clear();
        self.waiters.decide_all(Fate::Refused(rest));
    }
}
