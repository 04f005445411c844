use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;

use super::flow::ShareGroup;

/// Failures in a row that say upstream is down, if several callers' and agents' requests are among them, or if none of them
/// reached it.
const FAILURES: u32 = 5;

/// How many of these another caller than the first must have met: one more is chance.
const FAILURES_OF_OTHERS: u32 = 2;

/// Failures in a row that close the door on one agent, or on one caller if several agents are among them.
const FAILURES_OF_ONE: u32 = 20;

/// How many agents of a caller must fail until all of them are taken to.
const AGENTS_OF_ONE: usize = 3;

/// How long upstream is first left alone.
const FIRST_REST: Duration = Duration::from_secs(1);

/// How long at most.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// When to look again while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_millis(500);

/// Whether upstream is worth asking at all: for one agent, for one caller, or for anybody.
///
/// It opens on failures to connect, time-outs and 5xx in a row. Once open, everybody it stands for is refused at once; after a
/// rest a single request goes, whose fate decides. Pure: the clock is handed in.
#[derive(Debug)]
pub(super) struct Breaker {
    scope: BreakerScope,
    state: BreakerPhase,
    /// How often it opened in a row.
    opened: u32,
}

/// For whom a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerScope {
    /// For all requests: opens only if several callers and agents fail, or nothing can be reached.
    Everybody,
    /// For those of one caller: opens only if several of its agents fail.
    Caller,
    /// For those of one agent of one caller.
    Agent,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed(Failures),
    Open { since: Instant, until: Instant },
    Probing { since: Instant },
}

/// Failures in a row, and whose they were.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    unreachable: u32,
    first: Option<ShareGroup>,
    /// How many were not the first caller's.
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

/// Whose request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) group: ShareGroup,
    pub(super) agent: AgentId,
}

/// What kind of failure counts against upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It can't be reached, whoever asks.
    Connection,
    /// It answers 5xx or breaks off, which may be the question's fault.
    Answer,
    /// It takes too long. Of one agent or caller, that thins out what is in flight and is no reason to refuse the rest.
    Silence,
}

/// What the breaker is doing, for those who look on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go.
    Closed,
    /// Requests are refused.
    Open,
    /// One request goes, to find out.
    Probing,
}

impl Breaker {
    pub(super) fn new(scope: BreakerScope) -> Self {
        Self { scope, state: BreakerPhase::Closed(Failures::default()), opened: 0 }
    }

    /// For how long a request is refused, if it is.
    pub(super) fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.state {
            BreakerPhase::Closed(_) => None,
            BreakerPhase::Open { until, .. } => (now < until).then(|| until - now),
            BreakerPhase::Probing { .. } => Some(PROBE_WAIT),
        }
    }

    /// A request that is not refused goes. A [`Role::Probe`] must be followed by its outcome or [`Self::abandoned`].
    pub(super) fn admit(&mut self) -> Role {
        match self.state {
            BreakerPhase::Closed(_) | BreakerPhase::Probing { .. } => Role::Ordinary,
            BreakerPhase::Open { since, .. } => {
                self.state = BreakerPhase::Probing { since };
                Role::Probe
            }
        }
    }

    /// Upstream answered what was sent then, if only to refuse it.
    pub(super) fn succeeded(&mut self, sent: Instant) {
        let is_news = match self.state {
            BreakerPhase::Closed(_) => true,
            // What was sent before it opened was answered before it broke, or is luck.
            BreakerPhase::Open { since, .. } | BreakerPhase::Probing { since } => sent > since,
        };
        if is_news {
            *self = Self::new(self.scope);
        }
    }

    /// Upstream failed. Whether this opened the breaker.
    pub(super) fn failed(&mut self, who: Who, fault: Fault, role: Role, now: Instant) -> BreakerChange {
        match &mut self.state {
            BreakerPhase::Closed(failures) => {
                failures.add(who, fault);
                if failures.is_enough(self.scope) { self.open(now) } else { BreakerChange::AsBefore }
            }
            BreakerPhase::Probing { .. } if role == Role::Probe => self.open(now),
            BreakerPhase::Probing { .. } | BreakerPhase::Open { .. } => BreakerChange::AsBefore,
        }
    }

    /// The probe came to no end: the next one may go.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if let BreakerPhase::Probing { since } = self.state {
            self.state = BreakerPhase::Open { since, until: now };
        }
    }

    /// Whether nothing is remembered since an instant.
    pub(super) fn is_calm(&self) -> bool {
        matches!(&self.state, BreakerPhase::Closed(failures) if failures.count == 0)
    }

    fn open(&mut self, now: Instant) -> BreakerChange {
        let rest = FIRST_REST.saturating_mul(1 << self.opened.min(10)).min(LONGEST_REST);
        self.opened = self.opened.saturating_add(1);
        self.state = BreakerPhase::Open { since: now, until: now + rest };
        BreakerChange::Opened(rest)
    }

    /// What it is doing.
    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            BreakerPhase::Closed(_) => BreakerState::Closed,
            BreakerPhase::Open { .. } => BreakerState::Open,
            BreakerPhase::Probing { .. } => BreakerState::Probing,
        }
    }
}

/// What a request is to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of many.
    Ordinary,
    /// The one whose fate decides.
    Probe,
}

/// What a failure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerChange {
    /// Nothing.
    AsBefore,
    /// Everybody is refused for so long.
    Opened(Duration),
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
