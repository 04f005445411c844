use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;

use super::adaptive_rate::AdaptiveRate;
use super::concurrency_limit::{ConcurrencyLimit, LEAST_OF_AGENT};
use super::flow::{Branch, ShareGroup};

/// The most agents whose trouble is remembered; that of further ones is everybody's.
const MOST: usize = 1024;

/// Within which time two agents' troubles are one: that of upstream itself.
const TOGETHER: Duration = Duration::from_secs(10);

/// Of which agents upstream refused or left hanging requests, and how that slows their own requests down.
///
/// An agent is slowed down for the caller that met the trouble. That of a further agent within seconds is no agent's
/// but upstream's, and slows down everybody; see [`Evidence`].
#[derive(Debug, Default)]
pub(super) struct Troubles {
    all: HashMap<(ShareGroup, Branch), Trouble>,
    pub(super) refused: Evidence,
    pub(super) hanging: Evidence,
}

/// What was learned of one agent.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) adaptive_rate: AdaptiveRate,
    pub(super) concurrency_limit: ConcurrencyLimit,
}

impl Troubles {
    /// What is known of an agent.
    pub(super) fn of(&self, group: ShareGroup, branch: Branch) -> Option<&Trouble> {
        self.all.get(&(group, branch))
    }

    /// When an agent's next request may go, with so many in flight.
    pub(super) fn may(
        &self,
        group: ShareGroup,
        branch: Branch,
        in_flight: usize,
        now: Instant,
    ) -> Result<(), Instant> {
        let Some(trouble) = self.of(group, branch) else { return Ok(()) };
        if let Some(at) = trouble.adaptive_rate.next(0, now) {
            return Err(at);
        }
        trouble.concurrency_limit.room(in_flight, now)
    }

    /// What to learn more into; none if too many are in trouble already.
    pub(super) fn note(
        &mut self,
        group: ShareGroup,
        branch: Branch,
        beside: &AdaptiveRate,
        now: Instant,
    ) -> Option<&mut Trouble> {
        let key = (group, branch);
        if self.all.len() >= MOST && !self.all.contains_key(&key) {
            self.all.retain(|_, trouble| !trouble.is_calm(now));
            if self.all.len() >= MOST {
                return None;
            }
        }
        let new = || Trouble {
            adaptive_rate: AdaptiveRate::beside(beside),
            concurrency_limit: ConcurrencyLimit::default(),
        };
        Some(self.all.entry(key).or_insert_with(new))
    }

    /// Upstream answered an agent's request.
    pub(super) fn answered(
        &mut self,
        group: ShareGroup,
        branch: Branch,
        sent: Instant,
        connections: usize,
        now: Instant,
    ) {
        let Some(trouble) = self.all.get_mut(&(group, branch)) else { return };
        trouble.adaptive_rate.succeeded(sent, now);
        trouble.concurrency_limit.answered(sent, connections, now);
        if trouble.is_calm(now) {
            self.all.remove(&(group, branch));
        }
    }

    /// A request of an agent goes.
    pub(super) fn went(&mut self, group: ShareGroup, branch: Branch, now: Instant) {
        if let Some(trouble) = self.all.get_mut(&(group, branch)) {
            trouble.adaptive_rate.went(now);
        }
    }

    /// How many agents are slowed down.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.all.values().filter(|trouble| !trouble.is_calm(now)).count()
    }
}

impl Trouble {
    fn is_calm(&self, now: Instant) -> bool {
        self.adaptive_rate.is_calm(now) && self.concurrency_limit.is_calm(now)
    }

    /// A request was not answered in time.
    pub(super) fn timed_out(&mut self, sent: Instant, in_flight: usize, now: Instant) {
        self.adaptive_rate.timed_out(sent, now);
        self.concurrency_limit.timed_out(sent, in_flight, LEAST_OF_AGENT, now);
    }
}

/// Which two agents met the same trouble last.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    latest: Option<(AgentId, Instant)>,
    other: Option<(AgentId, Instant)>,
}

impl Evidence {
    /// Whether another agent met this trouble within seconds.
    pub(super) fn is_wide(&mut self, agent: AgentId, now: Instant) -> bool {
        if self.latest.is_some_and(|(latest, _)| latest != agent) {
            self.other = self.latest;
        }
        self.latest = Some((agent, now));
        self.other.is_some_and(|(other, at)| other != agent && now.saturating_duration_since(at) <= TOGETHER)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn trouble_is_wide_once_a_second_agent_meets_it_within_seconds() {
        let [a, b] = [1, 2].map(|n| AgentId::new(Uuid::from_u128(n)));
        let now = Instant::now();
        let mut evidence = Evidence::default();
        for second in 0..100 {
            assert!(!evidence.is_wide(a, now + Duration::from_secs(second)));
        }
        let later = now + Duration::from_secs(105);
        assert!(evidence.is_wide(b, later));
        assert!(evidence.is_wide(b, later), "a volley is one lesson elsewhere");
        assert!(evidence.is_wide(a, later));
        assert!(!evidence.is_wide(a, later + TOGETHER * 2));
    }
}
