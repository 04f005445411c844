use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::breaker::Who;
use super::breakers::Roles;
use super::flow::{Branch, Flow, KeyAcceptance, ShareGroup};
use super::pass::Pass;
use super::state::{GateRefusal, SharedGate};
use super::turns::WaiterId;
use super::waiter::{Fate, Waiter};
use crate::domain::{AgentId, CredentialId};
use crate::source::RequestContext;

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
    pub(super) fn flow(&self) -> Flow {
        let RequestContext { caller, urgency, question, .. } = *self.context;
        let group = ShareGroup::of(caller, self.standing);
        let branch = Branch::of(group, caller, self.agent);
        Flow { group, urgency, branch, question, agent: self.agent }
    }

    /// When waiting any longer is pointless. A deadline may move later.
    pub(crate) fn give_up(&self) -> Option<Instant> {
        let patience = self.context.budget_wait.and_then(|wait| self.since.checked_add(wait));
        let deadline = self.context.deadline.as_ref().map(crate::source::Deadline::instant);
        [patience, deadline].into_iter().flatten().min()
    }
}

/// Waits for a turn; see [`Gate::enter`](super::Gate::enter).
pub(super) async fn enter(gate: &SharedGate, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
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
    gate: SharedGate,
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
    fn join(gate: &SharedGate, asker: PassRequest<'_>, now: Instant) -> Result<Self, GateRefusal> {
        let mut state = gate.lock();
        let mut flow = asker.flow();
        let lane = state.lanes.key(asker.credential, now);
        if flow.group == ShareGroup::Unproven
            && state.lanes.get(lane).is_some_and(|l| l.tried_keys.contain(asker.context.caller.id, now))
        {
            flow.branch = Branch::Tried;
        }
        if state.waiters.is_full() || state.lanes.get(lane).is_some_and(|lane| lane.is_full(&flow)) {
            return Err(state.no_room(lane, &flow, now));
        }
        let roles = state
            .breakers
            .admit(Who { group: flow.group, agent: asker.agent }, now)
            .map_err(GateRefusal::Down)?;
        let wake = Arc::new(Notify::new());
        let id = state.line_up(Waiter::new(lane, flow, Arc::clone(&wake)));
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
            Some(Fate::Go(slot, sent)) => {
                state.waiters.remove(self.id);
                let roles = std::mem::replace(&mut self.roles, Roles::ORDINARY);
                let slot = slot.and_then(|p| Some(state.lanes.get(key)?.budget.sent(p, now)));
                let gate = self.gate.clone();
                return WaitStep::Go(Pass {
                    gate,
                    lane: key,
                    caller: asker.context.caller.id,
                    flow,
                    slot,
                    roles,
                    sent,
                });
            }
            Some(Fate::Refused(rest)) => return WaitStep::Refused(GateRefusal::Down(rest)),
            None => {}
        }
        let give_up = asker.give_up();
        if let (Some(give_up), Some(lane)) = (give_up, state.lanes.get(key)) {
            let earliest = lane.earliest(&flow, now);
            if now >= give_up || earliest > give_up {
                return WaitStep::Refused(if earliest > now {
                    state.no_room(key, &flow, now)
                } else {
                    state.others_first(key, &flow, now)
                });
            }
        }
        if let Some(lane) = state.lanes.get(key)
            && lane.is_barren(&flow, asker.context.retry_for, now)
        {
            return WaitStep::Refused(state.no_room(key, &flow, now));
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

impl Drop for InLine {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        let Some(waiter) = state.waiters.remove(self.id) else { return };
        let Flow { group, agent, .. } = waiter.flow;
        state.breakers.abandoned(Who { group, agent }, self.roles, now);
        match waiter.fate {
            None => state.leave_line(self.id, &waiter),
            Some(Fate::Go(slot, _)) => {
                if let (Some(slot), Some(lane)) = (slot, state.lanes.get(waiter.lane)) {
                    lane.budget.give_back(slot);
                }
                state.end(waiter.lane, &waiter.flow, now);
            }
            Some(Fate::Refused(_)) => {}
        }
    }
}
