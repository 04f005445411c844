use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AgentId;

/// Failures in a row that say upstream is down, if more than one agent's requests are among them.
const FAILURES: u32 = 5;

/// Failures in a row that say so although all were one agent's: by then nobody else has had an answer either.
const FAILURES_OF_ONE: u32 = 20;

/// How long upstream is first left alone.
const FIRST_REST: Duration = Duration::from_secs(1);

/// How long at most.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// When to look again while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_millis(500);

/// Whether upstream is worth asking at all.
///
/// It opens on failures to connect, time-outs and 5xx in a row, across agents: one agent whose list upstream can't
/// build must not close the door on the others. A failure to connect is no agent's fault. Once open, everybody is refused at
/// once; after a rest a single request goes, whose fate decides. Pure: the clock is handed in.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// How often it opened in a row.
    opened: u32,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32, who: Who },
    Open { since: Instant, until: Instant },
    Probing { since: Instant },
}

/// Whose requests failed in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    One(AgentId),
    Several,
}

/// What kind of failure counts against upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It can't be reached, whoever asks.
    Connection,
    /// It answers 5xx, breaks off or takes too long, which may be the question's fault.
    Answer,
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Go,
    /// It may, alone; its fate decides.
    Probe,
    /// It may not, before so long.
    Refuse(Duration),
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
    pub(super) const fn new() -> Self {
        Self { state: State::Closed { failures: 0, who: Who::Nobody }, opened: 0 }
    }

    /// Whether a request may go. A [`Admission::Probe`] must be followed by its outcome or [`Self::abandoned`].
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go,
            State::Open { until, .. } if now < until => Admission::Refuse(until - now),
            State::Open { since, .. } => {
                self.state = State::Probing { since };
                Admission::Probe
            }
            State::Probing { .. } => Admission::Refuse(PROBE_WAIT),
        }
    }

    /// Upstream answered what was sent then, if only to refuse it.
    pub(super) fn succeeded(&mut self, sent: Instant) {
        let is_news = match self.state {
            State::Closed { .. } => true,
            // What was sent before it opened was answered before it broke, or is luck.
            State::Open { since, .. } | State::Probing { since } => sent > since,
        };
        if is_news {
            *self = Self::new();
        }
    }

    /// Upstream failed. Whether this opened the breaker.
    pub(super) fn failed(&mut self, agent: AgentId, fault: Fault, role: Role, now: Instant) -> Verdict {
        match &mut self.state {
            State::Closed { failures, who } => {
                *failures += 1;
                *who = match (*who, fault) {
                    (Who::Nobody, Fault::Answer) => Who::One(agent),
                    (Who::One(known), Fault::Answer) if known == agent => Who::One(known),
                    (Who::One(_) | Who::Several, _) | (Who::Nobody, Fault::Connection) => Who::Several,
                };
                let needed = if *who == Who::Several { FAILURES } else { FAILURES_OF_ONE };
                if *failures >= needed { self.open(now) } else { Verdict::AsBefore }
            }
            State::Probing { .. } if role == Role::Probe => self.open(now),
            State::Probing { .. } | State::Open { .. } => Verdict::AsBefore,
        }
    }

    /// The probe came to no end: the next one may go.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if let State::Probing { since } = self.state {
            self.state = State::Open { since, until: now };
        }
    }

    fn open(&mut self, now: Instant) -> Verdict {
        let rest = FIRST_REST.saturating_mul(1 << self.opened.min(10)).min(LONGEST_REST);
        self.opened = self.opened.saturating_add(1);
        self.state = State::Open { since: now, until: now + rest };
        Verdict::Opened(rest)
    }

    /// What it is doing.
    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing { .. } => BreakerState::Probing,
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
pub(super) enum Verdict {
    /// Nothing.
    AsBefore,
    /// Everybody is refused for so long.
    Opened(Duration),
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn agent(n: u128) -> AgentId {
        AgentId::new(Uuid::from_u128(n))
    }

    fn fail(breaker: &mut Breaker, agents: u128, times: u32, fault: Fault, now: Instant) -> Verdict {
        let mut last = Verdict::AsBefore;
        for i in 0..times {
            assert_eq!(last, Verdict::AsBefore, "opened after {i}");
            last = breaker.failed(agent(u128::from(i) % agents), fault, Role::Ordinary, now);
        }
        last
    }

    #[test]
    fn opens_after_failures_across_agents() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        assert_eq!(fail(&mut breaker, 2, FAILURES, Fault::Answer, now), Verdict::Opened(FIRST_REST));
        assert_eq!(breaker.admit(now), Admission::Refuse(FIRST_REST));
    }

    #[test]
    fn one_bad_agent_among_others_never_opens_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..100 {
            assert_eq!(fail(&mut breaker, 1, FAILURES, Fault::Answer, now), Verdict::AsBefore);
            breaker.succeeded(now);
        }
        assert_eq!(breaker.admit(now), Admission::Go);
    }

    #[test]
    fn a_single_agent_opens_it_in_the_end() {
        let verdict = fail(&mut Breaker::new(), 1, FAILURES_OF_ONE, Fault::Answer, Instant::now());
        assert_eq!(verdict, Verdict::Opened(FIRST_REST));
    }

    #[test]
    fn what_cannot_be_reached_is_no_agents_fault() {
        let verdict = fail(&mut Breaker::new(), 1, FAILURES, Fault::Connection, Instant::now());
        assert_eq!(verdict, Verdict::Opened(FIRST_REST));
    }

    #[test]
    fn after_its_rest_one_probe_decides() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        fail(&mut breaker, 2, FAILURES, Fault::Answer, now);
        let later = now + FIRST_REST;
        assert_eq!(breaker.admit(later), Admission::Probe);
        assert_eq!(breaker.admit(later), Admission::Refuse(PROBE_WAIT));
        let verdict = breaker.failed(agent(1), Fault::Answer, Role::Probe, later);
        assert_eq!(verdict, Verdict::Opened(FIRST_REST * 2));
        let later = later + FIRST_REST * 2;
        assert_eq!(breaker.admit(later), Admission::Probe);
        breaker.succeeded(later);
        assert_eq!(breaker.admit(later), Admission::Go);
    }

    #[test]
    fn a_probe_that_is_given_up_lets_the_next_one_go() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        fail(&mut breaker, 2, FAILURES, Fault::Answer, now);
        assert_eq!(breaker.admit(now + FIRST_REST), Admission::Probe);
        breaker.abandoned(now + FIRST_REST);
        assert_eq!(breaker.admit(now + FIRST_REST), Admission::Probe);
    }

    #[test]
    fn answers_to_what_was_sent_before_it_opened_do_not_close_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        fail(&mut breaker, 2, FAILURES, Fault::Answer, now);
        breaker.succeeded(now);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn rests_never_grow_beyond_reason() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new();
        fail(&mut breaker, 2, FAILURES, Fault::Answer, now);
        for _ in 0..50 {
            let Admission::Refuse(rest) = breaker.admit(now) else { panic!("closed") };
            assert!(rest <= LONGEST_REST);
            now += rest;
            assert_eq!(breaker.admit(now), Admission::Probe);
            breaker.failed(agent(1), Fault::Connection, Role::Probe, now);
        }
    }
}
