//! The gate that every request to upstream passes: first the rate budget, then the process's connections, in fair turns.
//!
//! A request that has to wait is queued by caller, agent and question ([`turns`]). It is sent when both its budget
//! ([`budget`], as far as [`shares`] allow) and a connection ([`connections`]) are free, and never holds one while it waits
//! for the other. A refusal or a timeout slows down the agent that it is about ([`troubles`], by [`adaptive_rate`] and
//! [`concurrency_limit`]), and everybody once it shows across agents. The [`breakers`] refuse an agent's, a caller's or all
//! requests at once while upstream fails them.
//!
//! There is no task behind this. The waiters do the work: each looks for waiters whose turn it is when something changes,
//! and one of them, the driver, also when the clock says that there is room. A driver that leaves wakes the next one. What
//! a waiter or a request holds is released in its `Drop`.
//!
//! Left out on purpose: the fan-out of one answer, which belongs to the engine, and any order among requests that have
//! already been sent.

mod adaptive_rate;
mod breaker;
mod breakers;
mod budget;
mod concurrency_limit;
mod connections;
mod flow;
mod lanes;
mod pass;
mod promises;
mod rotation;
mod shares;
mod troubles;
mod turns;
mod waiter;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, Caller, CredentialId, PeerGroup};
use crate::source::{Headroom, QuestionId, RequestContext, SourceHealth, SourceOutlook, Urgency};

use super::settings::UpstreamSettings;
pub use breaker::BreakerState;
pub(crate) use breaker::Fault;
use breakers::Breakers;
use connections::Connections;
pub(crate) use flow::KeyAcceptance;
use flow::{Branch, Flow, ShareGroup};
use lanes::{LaneKey, Lanes};
pub(crate) use pass::{Pass, PassOutcome};
pub use shares::Holdings;
use waiter::{Fate, Waiter, Waiters};

/// The gate in front of upstream. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    state: Arc<Mutex<GateState>>,
}

#[derive(Debug)]
struct GateState {
    connections: Connections,
    lanes: Lanes,
    breakers: Breakers,
    waiters: Waiters,
}

/// A request to pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassRequest<'a> {
    pub(crate) credential: CredentialId,
    pub(crate) agent: AgentId,
    pub(crate) standing: KeyAcceptance,
    /// When the page was first requested, including failed attempts.
    pub(crate) since: Instant,
    pub(crate) context: &'a RequestContext,
}

impl PassRequest<'_> {
    fn flow(&self) -> Flow {
        let RequestContext { caller, urgency, question, .. } = *self.context;
        let group = ShareGroup::of(caller, self.standing);
        let branch = Branch::of(group, caller, self.agent);
        Flow { group, urgency, branch, question, agent: self.agent }
    }
}

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

/// The state of the gate, for metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSnapshot {
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// How many of these have keys that upstream has not accepted yet.
    pub waiting_unproven: usize,
    /// Agents that are slowed down because upstream refuses their requests or lets them time out.
    pub slowed_agents: usize,
    /// The requests of the last period by caller, in the budget in which one caller has the most.
    pub held: Holdings,
    /// The requests left in the tightest budget; `None` without a limit.
    pub budget_left: Option<usize>,
    /// The lowest fraction of its rate or connections that 429s or timeouts have left to a lane; 1 if none is
    /// remembered.
    pub rate_share: f64,
    /// The rest of the longest pause.
    pub paused_for: Duration,
    /// The state of the breaker.
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
        let state = GateState {
            connections: Connections::new(concurrency.get()),
            lanes,
            breakers: Breakers::new(),
            waiters: Waiters::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a turn. The request must be sent as soon as this returns.
    ///
    /// # Errors
    /// See [`GateRefusal`]. A certain refusal is returned at once.
    pub(crate) async fn enter(&self, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
        waiter::enter(self, asker).await
    }

    /// Whether a request that has to wait is waiting for the budget, rather than for a connection or for an
    /// agent whose requests hang.
    pub(crate) fn is_short_of_budget(&self, asker: PassRequest<'_>) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let (key, flow) = (state.lanes.key(asker.credential, now), asker.flow());
        state.lanes.get(key).is_some_and(|lane| lane.is_short_of_budget(&flow, now))
    }

    /// Whether a caller has room for a few more requests at once.
    pub(crate) fn room(&self, who: Applicant) -> Headroom {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.lanes.key(who.credential, now);
        let group = ShareGroup::of(who.caller, who.standing);
        state.lanes.get(key).map_or(Headroom::Ample, |lane| lane.room(group, now))
    }

    /// The likely time until `requests` requests of a caller have been sent, if all waiting requests go
    /// before or are among them.
    pub(crate) fn room_for(&self, who: Applicant, urgency: Urgency, requests: usize) -> Duration {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.lanes.key(who.credential, now);
        let flow = who.flow(urgency);
        state.lanes.get(key).map_or(Duration::ZERO, |lane| lane.likely_after(&flow, requests, now) - now)
    }

    /// What a caller's requests can expect now.
    pub(crate) fn outlook(&self, who: Applicant) -> SourceOutlook {
        let now = Instant::now();
        let mut state = self.lock();
        let is_down = state.breakers.is_down_for(ShareGroup::of(who.caller, who.standing));
        let key = state.lanes.key(who.credential, now);
        let lane = state.lanes.get(key);
        let flow = who.flow(Urgency::Refresh);
        let (budget, paused_until) =
            lane.map_or((None, None), |lane| (lane.remaining(now), lane.paused_until(&flow, now)));
        let health = match (is_down, paused_until) {
            (true, _) => SourceHealth::Down,
            (false, Some(_)) => SourceHealth::Limited,
            (false, None) => SourceHealth::Ok,
        };
        SourceOutlook { health, budget, paused_for: paused_until.map(|until| until - now) }
    }

    /// Whether more than one request may go for a key that upstream has not accepted yet.
    pub(crate) fn has_room_to_prove(&self, credential: CredentialId) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.lanes.key(credential, now);
        state.lanes.get(key).is_none_or(|lane| lane.has_room_to_prove(now))
    }

    /// What the gate is doing.
    pub(crate) fn snapshot(&self) -> GateSnapshot {
        let now = Instant::now();
        let mut state = self.lock();
        let (breaker, connections) = (state.breakers.state(), state.connections.most());
        let (in_flight, waiting) = (state.connections.in_flight(), state.waiters.len());
        let mut snapshot = GateSnapshot {
            in_flight,
            waiting,
            waiting_unproven: 0,
            slowed_agents: 0,
            held: Holdings::default(),
            budget_left: None,
            rate_share: 1.0,
            paused_for: Duration::ZERO,
            breaker,
        };
        for lane in state.lanes.all() {
            let share = lane.adaptive_rate.share(now).min(lane.concurrency_limit.share(connections, now));
            if let Some(left) = lane.budget.left(now) {
                snapshot.budget_left = Some(snapshot.budget_left.map_or(left, |l| l.min(left)));
            }
            snapshot.waiting_unproven += lane.turns.len_of(ShareGroup::Unproven);
            snapshot.slowed_agents += lane.troubles.count(now);
            let held = lane.budget.holdings();
            if held.largest + held.unproven >= snapshot.held.largest + snapshot.held.unproven {
                snapshot.held = held;
            }
            snapshot.rate_share = snapshot.rate_share.min(share);
            let pause = lane.adaptive_rate.paused_until(now).map_or(Duration::ZERO, |until| until - now);
            snapshot.paused_for = snapshot.paused_for.max(pause);
        }
        snapshot
    }

    /// No code panics while it holds the lock, and no invariant spans two critical sections, so poison is
    /// meaningless.
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that asks how much room there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant {
    pub(crate) credential: CredentialId,
    pub(crate) caller: Caller,
    pub(crate) standing: KeyAcceptance,
}

impl Applicant {
    /// The flow of its requests, whatever they are about.
    fn flow(self, urgency: Urgency) -> Flow {
        let group = ShareGroup::of(self.caller, self.standing);
        let agent = AgentId::new(uuid::Uuid::nil());
        let branch = match group {
            ShareGroup::Caller(_) => Branch::Peer(PeerGroup::Unknown),
            ShareGroup::Unproven => Branch::of(group, self.caller, agent),
        };
        Flow { group, urgency, branch, question: QuestionId::unique(), agent }
    }
}

impl GateState {
    /// Sends every request whose turn it is. Returns when to check again; `None` if only the end of a request
    /// makes room.
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut passed_by = 0;
        while passed_by < self.lanes.busy.len() && self.connections.has_room() {
            let Some(key) = self.lanes.busy.pop_front() else { break };
            let Some(lane) = self.lanes.get(key) else { continue };
            match lane.next(&self.connections, now) {
                Ok((id, ..)) => {
                    if let Some(flow) = self.waiters.get(id).map(|waiter| waiter.flow) {
                        let Flow { group, urgency, branch, .. } = flow;
                        let place = lane.budget.take(budget::RequestClass { urgency, group, branch }, now);
                        lane.adaptive_rate.went(now);
                        lane.troubles.went(group, branch, now);
                        lane.in_flight += 1;
                        self.connections.take(group, branch);
                        self.waiters.decide(id, Fate::Go(place, now));
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
    fn line_up(&mut self, waiter: Waiter) -> turns::WaiterId {
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
    fn leave_line(&mut self, id: turns::WaiterId, waiter: &Waiter) {
        if let Some(lane) = self.lanes.get(waiter.lane) {
            lane.turns.remove(&waiter.flow, id);
            if lane.turns.len() == 0 {
                self.lanes.busy.retain(|key| *key != waiter.lane);
            }
        }
    }

    /// Frees the connection of a request that passed.
    fn end(&mut self, key: LaneKey, flow: &Flow, now: Instant) {
        if let Some(lane) = self.lanes.get(key) {
            lane.in_flight -= 1;
        }
        self.connections.give_back(flow.group, flow.branch);
        self.pump(now);
        self.waiters.wake_driver();
    }

    /// Why a request was not sent although the budget has room: others were first, or no connection was free.
    fn others_first(&mut self, key: LaneKey, flow: &Flow, now: Instant) -> GateRefusal {
        if flow.group != ShareGroup::Unproven && !self.connections.has_room() {
            return GateRefusal::Busy;
        }
        waiter::no_room(self, key, flow, now)
    }

    /// Refuses the queued requests of a caller, or of one of its agents, because upstream is down for them.
    fn refuse(&mut self, key: LaneKey, group: ShareGroup, branch: Option<Branch>, rest: Duration) {
        let waiting = self.lanes.get(key).map(|lane| lane.turns.waiting(group, branch));
        for id in waiting.into_iter().flatten() {
            if let Some(waiter) = self.waiters.get(id).cloned() {
                self.leave_line(id, &waiter);
                self.waiters.decide(id, Fate::Refused(rest));
            }
        }
    }

    /// Refuses all queued requests, because upstream is down for this long.
    fn refuse_all(&mut self, rest: Duration) {
        for lane in self.lanes.all() {
            lane.turns = turns::Turns::default();
        }
        self.lanes.busy.clear();
        self.waiters.decide_all(Fate::Refused(rest));
    }
}

#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod outlook_tests;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
