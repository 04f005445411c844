use uuid::Uuid;

use super::*;
use crate::domain::CallerId;

fn who(caller: u8, agent: u128) -> Who {
    Who {
        group: ShareGroup::Caller(CallerId::Token([caller; 16])),
        agent: AgentId::new(Uuid::from_u128(agent)),
    }
}

/// The number of consecutive failures, taken from `whose` in turn, that opens it; `None` if a hundred do not.
fn opens_after(scope: BreakerScope, whose: &[Who], fault: Fault) -> Option<usize> {
    let (mut breaker, now) = (Breaker::new(scope), Instant::now());
    whose
        .iter()
        .cycle()
        .take(100)
        .position(|who| breaker.failed(*who, fault, Role::Ordinary, now).is_some())
        .map(|before| before + 1)
}

fn open(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(BreakerScope::Everybody);
    for n in 0..FAILURES {
        breaker.failed(who(1, n.into()), Fault::Connection, Role::Ordinary, now);
    }
    breaker
}

#[test]
fn opens_for_everyone_only_if_several_callers_and_agents_fail() {
    let of = |whose: &[Who]| opens_after(BreakerScope::Everybody, whose, Fault::Answer);
    assert_eq!(of(&[who(1, 1), who(2, 2)]), Some(5));
    assert_eq!(of(&[who(1, 1), who(1, 2), who(1, 3), who(1, 4), who(1, 5), who(1, 6)]), None);
    assert_eq!(of(&[who(1, 1), who(2, 1), who(3, 1)]), None, "one agent, from several callers");
    let mostly_one: Vec<_> = (0..7).map(|n| who(1, n)).chain([who(2, 9)]).collect();
    assert_eq!(of(&mostly_one[..]), Some(16), "not at another caller's first failure");
}

#[test]
fn opens_for_one_agent_or_one_caller_after_many() {
    assert_eq!(opens_after(BreakerScope::Agent, &[who(1, 1)], Fault::Answer), Some(20));
    assert_eq!(opens_after(BreakerScope::Caller, &[who(1, 1), who(1, 2)], Fault::Answer), None);
    assert_eq!(
        opens_after(BreakerScope::Caller, &[who(1, 1), who(1, 2), who(1, 3)], Fault::Answer),
        Some(20)
    );
}

#[test]
fn connection_failures_count_for_everyone() {
    assert_eq!(opens_after(BreakerScope::Everybody, &[who(1, 1)], Fault::Connection), Some(5));
    assert_eq!(opens_after(BreakerScope::Everybody, &[who(1, 1), who(2, 2)], Fault::Silence), Some(5));
}

#[test]
fn a_response_in_between_restarts_the_count() {
    let now = Instant::now();
    let mut breaker = Breaker::new(BreakerScope::Everybody);
    for n in 0..100 {
        assert_eq!(breaker.failed(who(n, n.into()), Fault::Answer, Role::Ordinary, now), None);
        if n % 4 == 3 {
            breaker.succeeded(now);
        }
    }
    assert_eq!(breaker.refuses(now), None);
}

#[test]
fn one_probe_decides_after_the_rest() {
    let now = Instant::now();
    let mut breaker = open(now);
    assert_eq!(breaker.refuses(now), Some(FIRST_REST));
    let later = now + FIRST_REST;
    assert_eq!((breaker.refuses(later), breaker.admit()), (None, Role::Probe));
    assert_eq!(breaker.refuses(later), Some(PROBE_WAIT));
    let verdict = breaker.failed(who(1, 1), Fault::Answer, Role::Probe, later);
    assert_eq!(verdict, Some(FIRST_REST * 2));
    let later = later + FIRST_REST * 2;
    assert_eq!((breaker.refuses(later), breaker.admit()), (None, Role::Probe));
    breaker.succeeded(later);
    assert_eq!((breaker.refuses(later), breaker.admit()), (None, Role::Ordinary));
}

#[test]
fn after_an_abandoned_probe_another_one_is_sent() {
    let now = Instant::now();
    let mut breaker = open(now);
    assert_eq!(breaker.admit(), Role::Probe);
    breaker.abandoned(now + FIRST_REST);
    assert_eq!((breaker.refuses(now + FIRST_REST), breaker.admit()), (None, Role::Probe));
}

#[test]
fn responses_to_earlier_requests_do_not_close_it() {
    let now = Instant::now();
    let mut breaker = open(now);
    breaker.succeeded(now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn rests_have_a_maximum() {
    let mut now = Instant::now();
    let mut breaker = open(now);
    for _ in 0..50 {
        let rest = breaker.refuses(now).unwrap();
        assert!(rest <= LONGEST_REST);
        now += rest;
        assert_eq!((breaker.refuses(now), breaker.admit()), (None, Role::Probe));
        breaker.failed(who(1, 1), Fault::Connection, Role::Probe, now);
    }
}
