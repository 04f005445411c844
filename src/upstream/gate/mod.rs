//! The gate that every request to upstream passes: first the rate budget, then the process's connections, in
//! fair turns.
//!
//! A request that has to wait is queued by caller, agent and question ([`turns`]). It is sent when both its
//! budget ([`budget`], as far as [`shares`] allow) and a connection ([`connections`]) are free, and never
//! holds one while it waits for the other. A refusal or a timeout slows down the agent that it is about
//! ([`troubles`], by [`adaptive_rate`] and [`concurrency_limit`]), and all requests once several agents meet
//! it. The [`breakers`] refuse an agent's, a caller's or all requests at once while upstream fails them.
//!
//! There is no task behind this. The waiters do the work: each looks for waiters whose turn it is when
//! something changes, and one of them, the driver, also when the clock says that there is room. A driver that
//! leaves wakes the next one. What a waiter or a request holds is released in its `Drop`.
//!
//! Left out on purpose: the fan-out of one answer, which belongs to the engine, and any order among requests
//! that have already been sent.

mod adaptive_rate;
mod breaker;
mod breakers;
mod budget;
mod concurrency_limit;
mod connections;
mod entrance;
mod flow;
mod lanes;
mod pass;
mod promises;
mod rotation;
mod shares;
mod state;
mod tried_keys;
mod troubles;
mod turns;
mod waiter;

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, Caller, CredentialId, PeerGroup};
use crate::source::{Headroom, QuestionId, SourceHealth, SourceOutlook, Urgency};
use crate::telemetry::{BudgetHoldings, GateReadings};

use super::settings::UpstreamSettings;
pub(crate) use breaker::Fault;
pub(crate) use entrance::PassRequest;
pub(crate) use flow::KeyAcceptance;
use flow::{Branch, Flow, ShareGroup};
use lanes::Lanes;
pub(crate) use pass::{Pass, PassOutcome};
pub(crate) use state::GateRefusal;
use state::SharedGate;

/// How long after a refusal another process's refusals teach nothing new.
const SAME_VOLLEY: Duration = Duration::from_secs(1);

/// The gate in front of upstream. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    state: SharedGate,
}

impl Gate {
    pub(crate) fn new(settings: &UpstreamSettings) -> Self {
        Self::with(
            Lanes::new(settings.rate_scope, settings.rate, settings.refresh_reserve),
            settings.concurrency,
        )
    }

    fn with(lanes: Lanes, concurrency: NonZeroUsize) -> Self {
        Self { state: SharedGate::new(lanes, concurrency) }
    }

    /// Waits for a turn. The request must be sent as soon as this returns.
    ///
    /// # Errors
    /// See [`GateRefusal`]. A certain refusal is returned at once.
    pub(crate) async fn enter(&self, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
        entrance::enter(&self.state, asker).await
    }

    /// Counts requests that other processes sent within the same budgets.
    pub(crate) fn remember(&self, sent: impl Iterator<Item = (CredentialId, Instant)>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        for (credential, at) in sent {
            let key = state.lanes.key(credential, now);
            if let Some(lane) = state.lanes.get(key) {
                lane.budget.remember(at);
            }
        }
    }

    /// Applies a change of the budget that processes share.
    pub(crate) fn change(&self, credential: CredentialId, change: SharedChange) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = state.lanes.key(credential, now);
        let Some(lane) = state.lanes.get(key) else { return };
        match change {
            SharedChange::Limit(most) => lane.budget.limit_to(most),
            SharedChange::Pause(until) => {
                // A refusal that this process received in the same second has the same cause.
                let seen = now.checked_sub(SAME_VOLLEY).unwrap_or(now);
                lane.adaptive_rate.limited(seen, now, Some(until - now), rand::random());
            }
        }
        state.waiters.wake_all();
    }

    /// Until when upstream's limit pauses all requests of a credential's budget.
    pub(crate) fn paused_until(&self, credential: CredentialId) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = state.lanes.key(credential, now);
        state.lanes.get(key)?.adaptive_rate.paused_until(now)
    }

    /// Whether a request that has to wait is waiting for the budget, rather than for a connection or for an
    /// agent whose requests hang.
    pub(crate) fn is_short_of_budget(&self, asker: PassRequest<'_>) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let (key, flow) = (state.lanes.key(asker.credential, now), asker.flow());
        state.lanes.get(key).is_some_and(|lane| lane.is_short_of_budget(&flow, now))
    }

    /// Whether a caller has room for a few more requests at once.
    pub(crate) fn room(&self, who: Applicant) -> Headroom {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = state.lanes.key(who.credential, now);
        let group = ShareGroup::of(who.caller, who.standing);
        state.lanes.get(key).map_or(Headroom::Ample, |lane| lane.room(group, now))
    }

    /// The likely time until `requests` requests of a caller have been sent, if all waiting requests go
    /// before or are among them.
    pub(crate) fn room_for(&self, who: Applicant, urgency: Urgency, requests: usize) -> Duration {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = state.lanes.key(who.credential, now);
        let flow = who.flow(urgency);
        state.lanes.get(key).map_or(Duration::ZERO, |lane| lane.likely_after(&flow, requests, now) - now)
    }

    /// What a caller's requests can expect now.
    pub(crate) fn outlook(&self, who: Applicant) -> SourceOutlook {
        let now = Instant::now();
        let mut state = self.state.lock();
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

    /// Whether more than one request may be sent with a key that upstream has not accepted yet.
    pub(crate) fn has_room_to_prove(&self, credential: CredentialId) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = state.lanes.key(credential, now);
        state.lanes.get(key).is_none_or(|lane| lane.has_room_to_prove(now))
    }

    /// What the gate is doing.
    pub(crate) fn readings(&self) -> GateReadings {
        let now = Instant::now();
        let mut state = self.state.lock();
        let (breaker, connections) = (state.breakers.state(), state.connections.most());
        let (in_flight, waiting) = (state.connections.in_flight(), state.waiters.len());
        let mut readings = GateReadings {
            in_flight,
            waiting,
            waiting_unproven: 0,
            slowed_agents: 0,
            held: BudgetHoldings::default(),
            budget_left: None,
            rate_share: 1.0,
            paused_for: Duration::ZERO,
            breaker,
        };
        for lane in state.lanes.all() {
            let share = lane.adaptive_rate.share(now).min(lane.concurrency_limit.share(connections, now));
            if let Some(left) = lane.budget.left(now) {
                readings.budget_left = Some(readings.budget_left.map_or(left, |l| l.min(left)));
            }
            readings.waiting_unproven += lane.turns.len_of(ShareGroup::Unproven);
            readings.slowed_agents += lane.troubles.count(now);
            let held = lane.budget.holdings();
            if held.largest + held.unproven >= readings.held.largest + readings.held.unproven {
                readings.held = held;
            }
            readings.rate_share = readings.rate_share.min(share);
            let pause = lane.adaptive_rate.paused_until(now).map_or(Duration::ZERO, |until| until - now);
            readings.paused_for = readings.paused_for.max(pause);
        }
        readings
    }
}

/// A change of the budget that processes share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedChange {
    /// The number of requests in a period.
    Limit(u32),
    /// Another process reached upstream's limit.
    Pause(Instant),
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

#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod outlook_tests;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod shared_budget_tests;
#[cfg(test)]
mod tests;
