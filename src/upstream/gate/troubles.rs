use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;

use super::adaptive_rate::AdaptiveRate;
use super::concurrency_limit::{ConcurrencyLimit, LEAST_OF_AGENT};
use super::flow::{Branch, ShareGroup};

/// The most agents whose trouble is remembered; that of further agents counts for everyone.
const MOST: usize = 1024;

/// The time within which troubles of two agents count as trouble of upstream itself.
const TOGETHER: Duration = Duration::from_secs(10);

/// The agents whose requests upstream refused or let time out, and how that slows their requests down.
///
/// An agent is slowed down for the caller that met the trouble. If a second agent meets it within seconds, it
/// is upstream's trouble and slows everyone down; see [`Evidence`].
#[derive(Debug, Default)]
pub(super) struct Troubles {
    all: HashMap<(ShareGroup, Branch), Trouble>,
    pub(super) refused: Evidence,
    pub(super) hanging: Evidence,
}

/// What was learned about one agent.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) adaptive_rate: AdaptiveRate,
    pub(super) concurrency_limit: ConcurrencyLimit,
}

impl Troubles {
    /// The trouble of an agent, if any.
    pub(super) fn of(&self, group: ShareGroup, branch: Branch) -> Option<&Trouble> {
        self.all.get(&(group, branch))
    }

    /// When an agent's next request may be sent, with `in_flight` in flight.
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

    /// The trouble to record more in; `None` if too many agents are in trouble already.
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

    /// Records a response to an agent's request.
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

    /// Records that a request of an agent is sent.
    pub(super) fn sent(&mut self, group: ShareGroup, branch: Branch, now: Instant) {
        if let Some(trouble) = self.all.get_mut(&(group, branch)) {
            trouble.adaptive_rate.sent(now);
        }
    }

    /// The number of agents that are slowed down.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.all.values().filter(|trouble| !trouble.is_calm(now)).count()
    }
}

impl Trouble {
    fn is_calm(&self, now: Instant) -> bool {
        self.adaptive_rate.is_calm(now) && self.concurrency_limit.is_calm(now)
    }

    /// Records that a request timed out.
    pub(super) fn timed_out(&mut self, sent: Instant, in_flight: usize, now: Instant) {
        self.adaptive_rate.timed_out(sent, now);
        self.concurrency_limit.timed_out(sent, in_flight, LEAST_OF_AGENT, now);
    }
}

/// The two agents that last met the same trouble.
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
        assert!(evidence.is_wide(b, later), "a burst counts once elsewhere");
        assert!(evidence.is_wide(a, later));
        assert!(!evidence.is_wide(a, later + TOGETHER * 2));
    }
}
