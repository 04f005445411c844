use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, BreakerScope, Fault, Role, Who};
use super::flow::ShareGroup;
use crate::domain::AgentId;
use crate::telemetry::BreakerState;

/// The most callers and the most agents with breakers of their own. Failures of further ones count only in
/// the breaker for everyone.
const MOST: usize = 4096;

/// The breaker for everyone, and those of the callers and agents whose requests failed.
///
/// Requests of unproven keys may fail because of the key, so only their connection failures count.
#[derive(Debug)]
pub(super) struct Breakers {
    everybody: Breaker,
    callers: HashMap<ShareGroup, Breaker>,
    agents: HashMap<(ShareGroup, AgentId), Breaker>,
}

/// The roles of a request in the breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    everybody: Role,
    caller: Role,
    agent: Role,
}

/// Whose requests a failure stopped, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Nobody,
    Agent(Duration),
    Caller(Duration),
    Everybody(Duration),
}

impl Roles {
    /// An ordinary request for all breakers.
    pub(super) const ORDINARY: Self =
        Self { everybody: Role::Ordinary, caller: Role::Ordinary, agent: Role::Ordinary };

    fn is_probe(self) -> bool {
        self != Self::ORDINARY
    }
}

impl Breakers {
    pub(super) fn new() -> Self {
        Self {
            everybody: Breaker::new(BreakerScope::Everybody),
            callers: HashMap::new(),
            agents: HashMap::new(),
        }
    }

    pub(super) const fn state(&self) -> BreakerState {
        self.everybody.state()
    }

    /// Whether the breaker for everyone or the one for a caller is not closed.
    pub(super) fn is_down_for(&self, group: ShareGroup) -> bool {
        let is_down = |breaker: &Breaker| breaker.state() != BreakerState::Closed;
        is_down(&self.everybody) || self.callers.get(&group).is_some_and(is_down)
    }

    /// Whether a request may be sent; if not, how long it is refused.
    pub(super) fn admit(&mut self, who: Who, now: Instant) -> Result<Roles, Duration> {
        let (caller, agent) =
            (self.callers.get_mut(&who.group), self.agents.get_mut(&(who.group, who.agent)));
        let refusals = [
            self.everybody.refuses(now),
            caller.as_ref().and_then(|breaker| breaker.refuses(now)),
            agent.as_ref().and_then(|breaker| breaker.refuses(now)),
        ];
        if let Some(rest) = refusals.into_iter().flatten().max() {
            return Err(rest);
        }
        Ok(Roles {
            everybody: self.everybody.admit(),
            caller: caller.map_or(Role::Ordinary, Breaker::admit),
            agent: agent.map_or(Role::Ordinary, Breaker::admit),
        })
    }

    /// Records that upstream responded.
    pub(super) fn succeeded(&mut self, who: Who, sent: Instant) {
        self.everybody.succeeded(sent);
        settle(&mut self.callers, who.group, sent);
        settle(&mut self.agents, (who.group, who.agent), sent);
    }

    /// Records that upstream failed, and returns which breaker that opened.
    pub(super) fn failed(&mut self, who: Who, fault: Fault, roles: Roles, now: Instant) -> Opened {
        let counts = fault == Fault::Connection || who.group != ShareGroup::Unproven;
        if (counts || roles.everybody == Role::Probe)
            && let Some(rest) = self.everybody.failed(who, fault, roles.everybody, now)
        {
            return Opened::Everybody(rest);
        }
        if fault != Fault::Answer || who.group == ShareGroup::Unproven {
            // A probe without an outcome must not remain a probe.
            self.abandoned(who, roles, now);
            return Opened::Nobody;
        }
        let caller = one_of(&mut self.callers, who.group, BreakerScope::Caller)
            .and_then(|breaker| breaker.failed(who, fault, roles.caller, now));
        let agent = one_of(&mut self.agents, (who.group, who.agent), BreakerScope::Agent)
            .and_then(|breaker| breaker.failed(who, fault, roles.agent, now));
        match (caller, agent) {
            (Some(rest), _) => Opened::Caller(rest),
            (None, Some(rest)) => Opened::Agent(rest),
            (None, None) => Opened::Nobody,
        }
    }

    /// Records that a request was abandoned.
    pub(super) fn abandoned(&mut self, who: Who, roles: Roles, now: Instant) {
        if !roles.is_probe() {
            return;
        }
        if roles.everybody == Role::Probe {
            self.everybody.abandoned(now);
        }
        if roles.caller == Role::Probe
            && let Some(breaker) = self.callers.get_mut(&who.group)
        {
            breaker.abandoned(now);
        }
        if roles.agent == Role::Probe
            && let Some(breaker) = self.agents.get_mut(&(who.group, who.agent))
        {
            breaker.abandoned(now);
        }
    }
}

fn settle<K: Copy + Eq + std::hash::Hash>(breakers: &mut HashMap<K, Breaker>, key: K, sent: Instant) {
    if let Some(breaker) = breakers.get_mut(&key) {
        breaker.succeeded(sent);
        if breaker.is_calm() {
            breakers.remove(&key);
        }
    }
}

/// The breaker of one caller or agent; `None` if there are too many.
fn one_of<K: Copy + Eq + std::hash::Hash>(
    breakers: &mut HashMap<K, Breaker>,
    key: K,
    scope: BreakerScope,
) -> Option<&mut Breaker> {
    if breakers.len() >= MOST && !breakers.contains_key(&key) {
        // Open breakers are few, since each took many failures.
        breakers.retain(|_, breaker| breaker.state() != BreakerState::Closed);
        if breakers.len() >= MOST {
            return None;
        }
    }
    Some(breakers.entry(key).or_insert_with(|| Breaker::new(scope)))
}
