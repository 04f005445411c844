//! What every request upstream passes: the rate budget, then the process's connections, in fair turns.
//!
//! A request that has to wait is lined up by kind and question ([`turns`]), and goes when both its budget
//! ([`budget`], slowed down as [`pace`] and [`crowd`] learned) and a connection are free, never holding one while it waits for the other.
//! The [`breaker`] refuses everybody at once while upstream is down.
//!
//! There is no task behind this. Whoever waits does the work: each waiter looks for those whose turn it is when something
//! changes, and one of them, the driver, also when the clock says that there is room. A driver that leaves wakes the
//! next. What a waiter or a request holds is undone in its `Drop`.
//!
//! Left out on purpose: the fan-out of one answer, which is the engine's, and any promise of order among requests that
//! already went.

mod breaker;
mod budget;
mod crowd;
mod lanes;
mod pace;
mod pass;
mod turns;
mod waiter;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, CredentialId};
use crate::source::{Room, Turn};

use super::settings::UpstreamSettings;
use breaker::Breaker;
pub use breaker::BreakerState;
pub(crate) use breaker::Fault;
pub(crate) use budget::{Kind, Standing};
use lanes::{LaneKey, Lanes, UnprovenRoom};
pub(crate) use pass::{Outcome, Pass};
use waiter::{Fate, Waiter, Waiters};

/// The part of the connections for keys that upstream has not accepted yet, as a divisor.
const UNPROVEN_PART: usize = 10;

/// In front of upstream. Clones are one and the same.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    concurrency: usize,
    in_flight: usize,
    unproven_in_flight: usize,
    lanes: Lanes,
    breaker: Breaker,
    waiters: Waiters,
}

/// Who asks to pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) credential: CredentialId,
    pub(crate) agent: AgentId,
    pub(crate) standing: Standing,
    pub(crate) turn: &'a Turn,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no room in the budget in time; there may be after so long.
    NoRoom(Duration),
    /// There is room in the budget, but all connections stayed taken.
    Busy,
    /// The breaker is open, for so long.
    Down(Duration),
}

/// What the gate is doing, for those who look on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSnapshot {
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// How many requests the tightest budget has left; none without a limit.
    pub budget_left: Option<usize>,
    /// The slowest speed, as the part that 429 left of the speed before, or time-outs of the connections; 1 where none is
    /// remembered.
    pub pace: f64,
    /// The longest pause that still lies ahead.
    pub paused_for: Duration,
    /// What the breaker is doing.
    pub breaker: BreakerState,
}

impl Gate {
    pub(crate) fn new(settings: &UpstreamSettings) -> Self {
        Self::with(
            Lanes::new(settings.rate_scope, settings.rate, settings.refresh_reserve),
            settings.concurrency,
        )
    }

    fn with(lanes: Lanes, concurrency: NonZeroUsize) -> Self {
        let state = State {
            concurrency: concurrency.get(),
            in_flight: 0,
            unproven_in_flight: 0,
            lanes,
            breaker: Breaker::new(),
            waiters: Waiters::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a turn. The request must be sent as soon as this returns.
    ///
    /// # Errors
    /// See [`Refusal`]. What is certain already is answered at once.
    pub(crate) async fn enter(&self, asker: Asker<'_>) -> Result<Pass, Refusal> {
        waiter::enter(self, asker).await
    }

    /// Whether a credential's budget has room for a few more requests at once.
    pub(crate) fn room(&self, credential: CredentialId) -> Room {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.lanes.key(credential, now);
        state.lanes.get(key).map_or(Room::Ample, |lane| lane.room(now))
    }

    /// How long it probably takes until so many requests of this kind have gone, if all who wait go before or are
    /// among them.
    pub(crate) fn room_for(&self, credential: CredentialId, kind: Kind, requests: usize) -> Duration {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.lanes.key(credential, now);
        state.lanes.get(key).map_or(Duration::ZERO, |lane| lane.likely_after(kind, requests, now) - now)
    }

    /// What the gate is doing.
    pub(crate) fn snapshot(&self) -> GateSnapshot {
        let now = Instant::now();
        let mut state = self.lock();
        let (breaker, connections) = (state.breaker.state(), state.concurrency);
        let (in_flight, waiting) = (state.in_flight, state.waiters.len());
        let mut snapshot = GateSnapshot {
            in_flight,
            waiting,
            budget_left: None,
            pace: 1.0,
            paused_for: Duration::ZERO,
            breaker,
        };
        for lane in state.lanes.all() {
            let share = lane.pace.share(now).min(lane.crowd.share(connections, now));
            if let Some(left) = lane.budget.left(now) {
                snapshot.budget_left = Some(snapshot.budget_left.map_or(left, |l| l.min(left)));
            }
            snapshot.pace = snapshot.pace.min(share);
            let pause = lane.pace.paused_until(now).map_or(Duration::ZERO, |until| until - now);
            snapshot.paused_for = snapshot.paused_for.max(pause);
        }
        snapshot
    }

    /// No code panics while it holds the lock, and no invariant spans two of its holdings: poison says nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets everybody go whose turn it is. When to look again: an instant, or none if only an end makes room.
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut passed_by = 0;
        while passed_by < self.lanes.busy.len() && self.in_flight < self.concurrency {
            let Some(key) = self.lanes.busy.pop_front() else { break };
            let most_unproven = (self.concurrency / UNPROVEN_PART).max(1);
            let unproven = if self.unproven_in_flight < most_unproven {
                UnprovenRoom::Left
            } else {
                UnprovenRoom::Taken
            };
            let Some(lane) = self.lanes.get(key) else { continue };
            match lane.next(unproven, now) {
                Ok((id, kind)) => {
                    let place = lane.budget.take(kind, now);
                    lane.pace.went(now);
                    lane.crowd.went();
                    self.in_flight += 1;
                    self.unproven_in_flight += usize::from(kind.standing == Standing::Unproven);
                    self.waiters.decide(id, Fate::Go(place, now));
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

    /// Lines a request up.
    fn line_up(&mut self, waiter: Waiter) -> turns::WaiterId {
        let (key, kind, question) = (waiter.lane, waiter.kind, waiter.question);
        let id = self.waiters.add(waiter);
        if let Some(lane) = self.lanes.get(key) {
            let is_first = lane.turns.len() == 0;
            lane.turns.push(kind, question, id);
            if is_first {
                self.lanes.busy.push_back(key);
            }
        }
        id
    }

    /// Takes one that waits no more out of its line.
    fn leave_line(&mut self, id: turns::WaiterId, waiter: &Waiter) {
        if let Some(lane) = self.lanes.get(waiter.lane) {
            lane.turns.remove(waiter.kind, waiter.question, id);
            if lane.turns.len() == 0 {
                self.lanes.busy.retain(|key| *key != waiter.lane);
            }
        }
    }

    /// Frees the connection of one that passed.
    fn end(&mut self, key: LaneKey, kind: Kind, now: Instant) {
        if let Some(lane) = self.lanes.get(key) {
            lane.crowd.ended();
        }
        self.in_flight -= 1;
        self.unproven_in_flight -= usize::from(kind.standing == Standing::Unproven);
        self.pump(now);
        self.waiters.wake_driver();
    }

    /// Tells everybody in line that upstream is down, for so long.
    fn refuse_all(&mut self, rest: Duration) {
        for id in self.waiters.undecided() {
            if let Some(waiter) = self.waiters.get(id).cloned() {
                self.leave_line(id, &waiter);
                self.waiters.decide(id, Fate::Refused(rest));
            }
        }
    }
}

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
