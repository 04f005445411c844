use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;

use super::Gate;
use super::breaker::{Fault, Role, Verdict};
use super::budget::{Kind, Place};
use super::lanes::LaneKey;

/// What became of a request that passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Upstream answered, if only to refuse.
    Answered,
    /// Upstream answered 429, and may have said for how long.
    Limited(Option<Duration>),
    /// Upstream took too long.
    TimedOut,
    /// Upstream failed.
    Failed(Fault),
}

/// A request under way. Dropping it frees its connection; without an outcome it teaches nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) gate: Gate,
    pub(super) lane: LaneKey,
    pub(super) kind: Kind,
    pub(super) place: Option<Place>,
    pub(super) agent: AgentId,
    pub(super) role: Role,
    /// When its turn came. Not when it went, a moment later: what others learned in between was no news to it.
    pub(super) sent: Instant,
}

impl Pass {
    /// The head of the answer came: upstream has seen the request.
    pub(crate) fn answered(&self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        if let (Some(place), Some(lane)) = (self.place, state.lanes.get(self.lane)) {
            lane.budget.answered(place, now);
            state.waiters.wake_driver();
        }
    }

    /// Ends the request, and lets the gate learn from it.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        let now = Instant::now();
        let gate = self.gate.clone();
        let mut state = gate.lock();
        let verdict = match outcome {
            Outcome::Answered | Outcome::Limited(_) => {
                state.breaker.succeeded(self.sent);
                Verdict::AsBefore
            }
            Outcome::TimedOut => state.breaker.failed(self.agent, Fault::Answer, self.role, now),
            Outcome::Failed(fault) => state.breaker.failed(self.agent, fault, self.role, now),
        };
        self.role = Role::Ordinary;
        let connections = state.concurrency;
        if let Some(lane) = state.lanes.get(self.lane) {
            match outcome {
                Outcome::Answered => {
                    lane.pace.succeeded(self.sent, now);
                    lane.crowd.answered(self.sent, connections, now);
                }
                Outcome::Limited(after) => lane.pace.limited(self.sent, now, after, rand::random()),
                Outcome::TimedOut => {
                    lane.pace.timed_out(self.sent, now);
                    lane.crowd.timed_out(self.sent, now);
                }
                Outcome::Failed(_) => {}
            }
        }
        match (verdict, outcome) {
            (Verdict::Opened(rest), _) => state.refuse_all(rest),
            // What those who wait took for possible may have become impossible.
            (Verdict::AsBefore, Outcome::Limited(_)) => state.waiters.wake_all(),
            (Verdict::AsBefore, Outcome::Answered | Outcome::TimedOut | Outcome::Failed(_)) => {}
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        if self.role == Role::Probe {
            state.breaker.abandoned(now);
        }
        state.end(self.lane, self.kind, now);
    }
}
