use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Fault, Who};
use super::breakers::{Opened, Roles};
use super::budget::BudgetSlot;
use super::concurrency_limit::LEAST;
use super::flow::{Branch, Flow, KeyAcceptance, ShareGroup};
use super::lanes::{Lane, LaneKey};
use super::state::{GateRefusal, GateState, SharedGate};
use crate::domain::{Caller, CallerId};

/// The outcome of a request that passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PassOutcome {
    /// Upstream responded, even with a refusal.
    Answered,
    /// Upstream responded with 429, and may have given a pause.
    Limited(Option<Duration>),
    /// Upstream took too long.
    TimedOut,
    /// Upstream failed.
    Failed(Fault),
}

/// A request in flight. Dropping it frees its connection; without an outcome it teaches nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) gate: SharedGate,
    pub(super) lane: LaneKey,
    pub(super) caller: CallerId,
    pub(super) flow: Flow,
    pub(super) slot: Option<BudgetSlot>,
    pub(super) roles: Roles,
    /// When its turn came, not when it was sent a moment later: lessons from other requests in between did
    /// not affect it.
    pub(super) sent: Instant,
}

impl Pass {
    /// Records that the request is sent only now.
    pub(crate) fn delayed(&mut self) {
        let mut state = self.gate.lock();
        if let (Some(slot), Some(lane)) = (self.slot, state.lanes.get(self.lane)) {
            self.slot = Some(lane.budget.sent(slot, Instant::now()));
        }
    }

    /// Ends a request that was never sent because other processes used the budget.
    pub(crate) fn never_sent(mut self) -> GateRefusal {
        let now = Instant::now();
        let mut state = self.gate.lock();
        if let (Some(slot), Some(lane)) = (self.slot.take(), state.lanes.get(self.lane)) {
            lane.budget.give_back(slot);
        }
        state.no_room(self.lane, &self.flow, now)
    }

    /// Records that the head of the response arrived, so upstream has seen the request.
    pub(crate) fn answered(&self, accepted: Option<Caller>) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        if let (Some(slot), Some(lane)) = (self.slot, state.lanes.get(self.lane)) {
            let slot = lane.budget.answered(slot, now);
            if let (ShareGroup::Unproven, Some(caller)) = (self.flow.group, accepted) {
                let group = ShareGroup::of(caller, KeyAcceptance::Accepted);
                lane.budget.reassign(slot, group, Branch::of(group, caller, self.flow.agent));
            } else if self.flow.group == ShareGroup::Unproven {
                lane.tried_keys.note(self.caller, now);
            }
            state.waiters.wake_driver();
        }
    }

    /// Ends the request, and lets the gate learn from its outcome.
    pub(crate) fn finish(mut self, outcome: PassOutcome) {
        let now = Instant::now();
        let gate = self.gate.clone();
        let mut guard = gate.lock();
        let state = &mut *guard;
        let (who, roles) = (self.who(), std::mem::replace(&mut self.roles, Roles::ORDINARY));
        let opened = match outcome {
            PassOutcome::Answered | PassOutcome::Limited(_) => {
                state.breakers.succeeded(who, self.sent);
                Opened::Nobody
            }
            PassOutcome::TimedOut => state.breakers.failed(who, Fault::Silence, roles, now),
            PassOutcome::Failed(fault) => state.breakers.failed(who, fault, roles, now),
        };
        let connections = state.connections.most();
        let held = state.connections.held_by(self.flow.group, self.flow.branch);
        let slowed = state.lanes.get(self.lane).map_or(Slowed::Nobody, |lane| {
            learn(lane, &self.flow, outcome, self.sent, (held, connections), now)
        });
        self.tell(state, opened, slowed);
    }

    /// Notifies the queued requests that it concerns.
    fn tell(&self, state: &mut GateState, opened: Opened, slowed: Slowed) {
        let Flow { group, branch, .. } = self.flow;
        match opened {
            Opened::Everybody(rest) => return state.refuse_all(rest),
            Opened::Caller(rest) => state.refuse(self.lane, group, None, rest),
            Opened::Agent(rest) => state.refuse(self.lane, group, Some(branch), rest),
            Opened::Nobody => {}
        }
        // Requests that counted on their turn may have become hopeless.
        match slowed {
            Slowed::Everybody => state.waiters.wake_all(),
            Slowed::Agent => {
                let waiting = state.lanes.get(self.lane).map(|lane| lane.turns.waiting(group, Some(branch)));
                waiting.into_iter().flatten().for_each(|id| state.waiters.wake(id));
            }
            Slowed::Nobody => {}
        }
    }

    const fn who(&self) -> Who {
        Who { group: self.flow.group, agent: self.flow.agent }
    }
}

/// Which requests a refusal slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slowed {
    Nobody,
    Agent,
    Everybody,
}

/// Lets a lane learn the outcome of a request. `held` is how many connections its agent holds, and how many
/// there are.
fn learn(
    lane: &mut Lane,
    flow: &Flow,
    outcome: PassOutcome,
    sent: Instant,
    (held, connections): (usize, usize),
    now: Instant,
) -> Slowed {
    let Flow { group, branch, agent, .. } = *flow;
    match outcome {
        PassOutcome::Answered => {
            lane.adaptive_rate.succeeded(sent, now);
            lane.concurrency_limit.answered(sent, connections, now);
            lane.troubles.answered(group, branch, sent, connections, now);
            Slowed::Nobody
        }
        PassOutcome::Limited(after) => {
            let is_wide = lane.troubles.refused.is_wide(agent, now);
            let is_known = lane.troubles.of(group, branch).is_some();
            let of_agent = if is_wide && !is_known {
                None
            } else {
                lane.troubles.note(group, branch, &lane.adaptive_rate, now)
            };
            let is_everybodys = is_wide || of_agent.is_none();
            if let Some(trouble) = of_agent {
                trouble.adaptive_rate.limited(sent, now, after, rand::random());
            }
            if is_everybodys {
                lane.adaptive_rate.limited(sent, now, after, rand::random());
            }
            if is_everybodys { Slowed::Everybody } else { Slowed::Agent }
        }
        PassOutcome::TimedOut => {
            let is_wide = lane.troubles.hanging.is_wide(agent, now);
            if let Some(trouble) = lane.troubles.note(group, branch, &lane.adaptive_rate, now) {
                trouble.timed_out(sent, held, now);
            }
            if is_wide {
                lane.adaptive_rate.timed_out(sent, now);
                lane.concurrency_limit.timed_out(sent, lane.in_flight, LEAST, now);
            }
            Slowed::Nobody
        }
        PassOutcome::Failed(_) => Slowed::Nobody,
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        state.breakers.abandoned(self.who(), self.roles, now);
        state.end(self.lane, &self.flow, now);
    }
}
