//! Turns and budget together, as a pure machine: who gets how much of every minute.

use proptest::prelude::*;
use uuid::Uuid;

use super::budget::{Budget, RequestClass};
use super::shares::Others;
use super::turns::Turns;
use super::*;
use crate::domain::CallerId;
use crate::upstream::settings::{Fraction, Rate};

const LIMIT: usize = 450;
const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
const TICKS_A_MINUTE: usize = 600;

/// How many requests a caller wants at a tick.
type Demand = Box<dyn Fn(usize) -> usize>;

/// Everything, all the time, since a tick.
fn all_since(tick: usize) -> Demand {
    Box::new(move |now| if now == tick { usize::MAX } else { 0 })
}

/// So many a minute, evenly.
fn evenly(a_minute: usize) -> Demand {
    Box::new(move |now| (now + 1) * a_minute / TICKS_A_MINUTE - now * a_minute / TICKS_A_MINUTE)
}

/// What each caller got at each tick, and the longest wait of each in ticks, the first three minutes left out: the window knows nobody
/// at first, and what one took at once in the first minute comes back in the second.
fn play(demands: &[Demand], ticks: usize) -> (Vec<Vec<usize>>, Vec<usize>) {
    let rate = Rate { count: std::num::NonZeroU32::new(LIMIT as u32).unwrap(), per: MINUTE };
    let mut budget = Budget::new(Some(rate), Fraction::percent(20).unwrap());
    let mut turns = Turns::default();
    let agent = AgentId::new(Uuid::from_u128(1));
    let flows: Vec<_> = (0..demands.len())
        .map(|n| Flow {
            group: ShareGroup::Caller(CallerId::Token([u8::try_from(n).unwrap(); 16])),
            urgency: Urgency::Refresh,
            branch: Branch::Agent(agent),
            question: QuestionId::unique(),
            agent,
        })
        .collect();
    let start = Instant::now();
    let (mut got, mut longest) = (vec![Vec::with_capacity(ticks); demands.len()], vec![0; demands.len()]);
    let (mut joined, mut always) = (Vec::new(), vec![false; demands.len()]);
    for tick in 0..ticks {
        let now = start + TICK * u32::try_from(tick).unwrap();
        for (n, demand) in demands.iter().enumerate() {
            let wanted = demand(tick);
            always[n] |= wanted == usize::MAX;
            let wanted = if always[n] { 64 - turns.len_of(flows[n].group).min(64) } else { wanted };
            for _ in 0..wanted {
                turns.push(&flows[n], joined.len() as turns::WaiterId);
                joined.push((n, tick));
            }
        }
        got.iter_mut().for_each(|got| got.push(0));
        budget.expire(now);
        loop {
            let room = |group, urgency, branch| {
                budget.room(RequestClass { urgency, group, branch }, Others::Content, 0, now).map_err(Some)
            };
            let Ok((id, ..)) = turns.next(|_, _| Ok(()), room) else { break };
            let (n, since) = joined[usize::try_from(id).unwrap()];
            let Flow { group, urgency, branch, .. } = flows[n];
            let place = budget.take(RequestClass { urgency, group, branch }, now).unwrap();
            budget.answered(place, now);
            if let Some(count) = got[n].last_mut() {
                *count += 1;
            }
            if since >= TICKS_A_MINUTE * 3 {
                longest[n] = longest[n].max(tick - since);
            }
            if always[n] {
                turns.push(&flows[n], joined.len() as turns::WaiterId);
                joined.push((n, tick));
            }
        }
    }
    (got, longest)
}

fn within(got: &[usize], from: usize) -> usize {
    got[from..from + TICKS_A_MINUTE].iter().sum()
}

#[test]
fn one_that_wants_a_tenth_has_it_at_once_and_another_the_rest() {
    let (got, longest) = play(&[evenly(45), all_since(0)], TICKS_A_MINUTE * 10);
    assert!(longest[0] <= 1, "{longest:?}");
    for minute in 3..9 {
        let [few, rest] = [0, 1].map(|n| within(&got[n], minute * TICKS_A_MINUTE));
        assert!((44..=46).contains(&few) && rest >= 370, "{few} and {rest} in minute {minute}");
    }
}

#[test]
fn one_that_returns_has_neither_credit_nor_debt() {
    // B alone for ten minutes; or A with a tenth for as long; then both want everything.
    let since = TICKS_A_MINUTE * 10;
    for before in [0, 45] {
        let a: Demand = Box::new(move |tick| match tick {
            _ if tick < since => evenly(before)(tick),
            _ if tick == since => usize::MAX,
            _ => 0,
        });
        let (got, _) = play(&[a, all_since(0)], TICKS_A_MINUTE * 13);
        for minute in 0..2 {
            let [a, b] = [0, 1].map(|n| within(&got[n], since + minute * TICKS_A_MINUTE));
            assert!(a * 100 <= (a + b) * 55 && b * 100 <= (a + b) * 55, "{a} and {b} in minute {minute}");
        }
    }
}

#[test]
fn a_newcomers_first_pages_go_at_once_although_others_use_all_they_may() {
    for others in 1..4 {
        let demands: Vec<_> = (0..others)
            .map(|_| all_since(0))
            .chain([Box::new(|tick: usize| if tick == 1933 { 9usize } else { 0 }) as Demand])
            .collect();
        let (_, longest) = play(&demands, TICKS_A_MINUTE * 4);
        assert_eq!(longest[others], 0, "beside {others}");
    }
}

#[test]
fn what_nobody_else_wants_is_used() {
    let (got, _) = play(&[all_since(0)], TICKS_A_MINUTE * 3);
    for minute in 0..2 {
        assert!(within(&got[0], minute * TICKS_A_MINUTE) >= LIMIT * 95 / 100);
    }
}

/// When each of so many new keys from one network, which come at once, has had its check and then a page, in ticks.
fn prove(keys: usize) -> Vec<usize> {
    let rate = Rate { count: std::num::NonZeroU32::new(LIMIT as u32).unwrap(), per: MINUTE };
    let mut budget = Budget::new(Some(rate), Fraction::percent(20).unwrap());
    let mut turns = Turns::default();
    let (agent, start) = (AgentId::new(Uuid::from_u128(1)), Instant::now());
    let flow = |group, branch| Flow {
        group,
        urgency: Urgency::Refresh,
        branch,
        question: QuestionId::unique(),
        agent,
    };
    let checks: Vec<_> = (0..keys)
        .map(|_| flow(ShareGroup::Unproven, Branch::Peer(crate::domain::PeerGroup::V6(1))))
        .collect();
    let caller = |key: usize| CallerId::Token((key as u128).to_le_bytes());
    let pages: Vec<_> =
        (0..keys).map(|key| flow(ShareGroup::Caller(caller(key)), Branch::Agent(agent))).collect();
    for (key, check) in checks.iter().enumerate() {
        turns.push(check, key as turns::WaiterId);
    }
    let mut done = Vec::new();
    for tick in 0..TICKS_A_MINUTE * 2 {
        let now = start + TICK * u32::try_from(tick).unwrap();
        budget.expire(now);
        loop {
            let others = if turns.others_wait(ShareGroup::Unproven) { Others::Wait } else { Others::Content };
            let room = |group, urgency, branch| {
                budget.room(RequestClass { urgency, group, branch }, others, 0, now).map_err(Some)
            };
            let Ok((id, ..)) = turns.next(|_, _| Ok(()), room) else { break };
            let id = usize::try_from(id).unwrap();
            let Flow { group, urgency, branch, .. } = if id < keys { checks[id] } else { pages[id - keys] };
            let place = budget.take(RequestClass { urgency, group, branch }, now).unwrap();
            budget.answered(place, now);
            if id < keys {
                turns.push(&pages[id], (id + keys) as turns::WaiterId);
            } else {
                done.push(tick);
            }
        }
    }
    done
}

#[test]
fn three_hundred_new_keys_at_once_are_answered_as_soon_as_the_window_has_moved_once() {
    let done = prove(300);
    assert_eq!(done.len(), 300);
    assert!(done[160] <= 10, "half of them at once: {done:?}");
    assert!(done[299] <= TICKS_A_MINUTE + 20, "{done:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn of_two_that_want_more_than_they_get_neither_has_more_than_55_of_100(
        starts in (0usize..900, 0usize..900),
        probe in 0usize..1200,
        bystander in 0usize..40,
    ) {
        let demands = [all_since(starts.0), all_since(starts.1), evenly(bystander)];
        let (got, _) = play(&demands, 900 + 1200 + TICKS_A_MINUTE);
        let from = starts.0.max(starts.1) + probe;
        let [a, b] = [0, 1].map(|n| within(&got[n], from));
        prop_assert!(a * 100 <= LIMIT * 55 && b * 100 <= LIMIT * 55, "{a} and {b} of {LIMIT}");
        prop_assert!(a * 100 <= (a + b) * 55 && b * 100 <= (a + b) * 55, "{a} and {b}");
    }
}
