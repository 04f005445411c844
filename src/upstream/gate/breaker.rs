use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;
use crate::telemetry::BreakerState;

use super::flow::ShareGroup;

/// Consecutive failures that mean upstream is down, if they include requests of several callers and agents,
/// or if none reached upstream.
const FAILURES: u32 = 5;

/// How many of these must belong to callers other than the first: a single one is chance.
const FAILURES_OF_OTHERS: u32 = 2;

/// Consecutive failures after which one agent's requests are refused, or one caller's if several of its
/// agents are among them.
const FAILURES_OF_ONE: u32 = 20;

/// How many agents of a caller must fail before all of them are refused.
const AGENTS_OF_ONE: usize = 3;

/// The first rest.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// When to check again while a probe is in flight.
const PROBE_WAIT: Duration = Duration::from_millis(500);

/// A circuit breaker: for one agent, for one caller, or for everyone.
///
/// It opens on consecutive connection failures, timeouts and 5xx. While it is open, all requests in its scope
/// are refused at once. After a rest a single request is sent, whose outcome decides. Pure: the clock is a
/// parameter.
#[derive(Debug)]
pub(super) struct Breaker {
    scope: BreakerScope,
    state: BreakerPhase,
    /// How often it opened in succession.
    opened: u32,
}

/// The scope of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerScope {
    /// All requests. Opens only if several callers and agents fail, or nothing can be reached.
    Everybody,
    /// One caller's requests. Opens only if several of its agents fail.
    Caller,
    /// The requests of one caller about one agent.
    Agent,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed(Failures),
    Open { since: Instant, until: Instant },
    Probing { since: Instant },
}

/// Consecutive failures, and whose requests they were.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    unreachable: u32,
    first: Option<ShareGroup>,
    /// How many were of callers other than the first.
    others: u32,
    agents: Vec<AgentId>,
}

impl Failures {
    fn add(&mut self, who: Who, fault: Fault) {
        self.count += 1;
        self.unreachable += u32::from(fault == Fault::Connection);
        self.others += u32::from(*self.first.get_or_insert(who.group) != who.group);
        if self.agents.len() < AGENTS_OF_ONE && !self.agents.contains(&who.agent) {
            self.agents.push(who.agent);
        }
    }

    const fn is_enough(&self, scope: BreakerScope) -> bool {
        match scope {
            BreakerScope::Everybody => {
                let is_wide = self.others >= FAILURES_OF_OTHERS && self.agents.len() > 1;
                self.unreachable >= FAILURES || (self.count >= FAILURES && is_wide)
            }
            BreakerScope::Caller => self.count >= FAILURES_OF_ONE && self.agents.len() >= AGENTS_OF_ONE,
            BreakerScope::Agent => self.count >= FAILURES_OF_ONE,
        }
    }
}

/// The caller and agent of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) group: ShareGroup,
    pub(super) agent: AgentId,
}

/// The kinds of failure that count against upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Upstream can't be reached, by any request.
    Connection,
    /// Upstream responds with 5xx or breaks off, which may be due to the question.
    Answer,
    /// Upstream takes too long. For one agent or caller, fewer requests are then in flight, but the rest is
    /// not refused.
    Silence,
}

impl Breaker {
    pub(super) fn new(scope: BreakerScope) -> Self {
        Self { scope, state: BreakerPhase::Closed(Failures::default()), opened: 0 }
    }

    /// How long requests are refused, if they are.
    pub(super) fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.state {
            BreakerPhase::Closed(_) => None,
            BreakerPhase::Open { until, .. } => (now < until).then(|| until - now),
            BreakerPhase::Probing { .. } => Some(PROBE_WAIT),
        }
    }

    /// Records that a request is sent. A [`Role::Probe`] must be followed by its outcome or
    /// [`Self::abandoned`].
    pub(super) fn admit(&mut self) -> Role {
        match self.state {
            BreakerPhase::Closed(_) | BreakerPhase::Probing { .. } => Role::Ordinary,
            BreakerPhase::Open { since, .. } => {
                self.state = BreakerPhase::Probing { since };
                Role::Probe
            }
        }
    }

    /// Records that upstream responded to a request sent at `sent`, even with a refusal.
    pub(super) fn succeeded(&mut self, sent: Instant) {
        let is_news = match self.state {
            BreakerPhase::Closed(_) => true,
            // A request sent before the breaker opened was answered before upstream broke, or by luck.
            BreakerPhase::Open { since, .. } | BreakerPhase::Probing { since } => sent > since,
        };
        if is_news {
            *self = Self::new(self.scope);
        }
    }

    /// Records a failure. If it opens the breaker, returns how long all requests in scope are refused.
    pub(super) fn failed(&mut self, who: Who, fault: Fault, role: Role, now: Instant) -> Option<Duration> {
        match &mut self.state {
            BreakerPhase::Closed(failures) => {
                failures.add(who, fault);
                failures.is_enough(self.scope).then(|| self.open(now))
            }
            BreakerPhase::Probing { .. } if role == Role::Probe => Some(self.open(now)),
            BreakerPhase::Probing { .. } | BreakerPhase::Open { .. } => None,
        }
    }

    /// Records that the probe was abandoned: the next one may be sent.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if let BreakerPhase::Probing { since } = self.state {
            self.state = BreakerPhase::Open { since, until: now };
        }
    }

    /// Whether no failure is remembered.
    pub(super) fn is_calm(&self) -> bool {
        matches!(&self.state, BreakerPhase::Closed(failures) if failures.count == 0)
    }

    fn open(&mut self, now: Instant) -> Duration {
        let rest = FIRST_REST.saturating_mul(1 << self.opened.min(10)).min(LONGEST_REST);
        self.opened = self.opened.saturating_add(1);
        self.state = BreakerPhase::Open { since: now, until: now + rest };
        rest
    }

    /// The current state.
    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            BreakerPhase::Closed(_) => BreakerState::Closed,
            BreakerPhase::Open { .. } => BreakerState::Open,
            BreakerPhase::Probing { .. } => BreakerState::Probing,
        }
    }
}

/// The role of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An ordinary request.
    Ordinary,
    /// The request whose outcome decides.
    Probe,
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
