//! Tests turns and budget together, as a pure machine: each caller's part of every minute.

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

/// Unlimited demand from a tick on.
fn all_since(tick: usize) -> Demand {
    Box::new(move |now| if now == tick { usize::MAX } else { 0 })
}

/// A number per minute, evenly spread.
fn evenly(a_minute: usize) -> Demand {
    Box::new(move |now| (now + 1) * a_minute / TICKS_A_MINUTE - now * a_minute / TICKS_A_MINUTE)
}

/// How many requests each caller sent at each tick, and its longest wait. Leaves out the first three minutes:
/// the window is empty at first, and a burst in the first minute is repeated in the second.
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
            let beyond = |group| budget.held_beyond_share(group);
            let Ok(id) = turns.next(|_, _| Ok(()), room, beyond) else { break };
            let (n, since) = joined[usize::try_from(id).unwrap()];
            let Flow { group, urgency, branch, .. } = flows[n];
            let slot = budget.take(RequestClass { urgency, group, branch }, now).unwrap();
            budget.answered(slot, now);
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

/// The number of requests in a minute and one tick, because a slot stays taken for that long: a minute alone
/// may be between two bursts.
fn within(got: &[usize], from: usize) -> usize {
    got[from..got.len().min(from + TICKS_A_MINUTE + 1)].iter().sum()
}

#[test]
fn a_caller_that_wants_a_tenth_gets_it_at_once_and_another_gets_the_rest() {
    let (got, longest) = play(&[evenly(45), all_since(0)], TICKS_A_MINUTE * 10);
    assert!(longest[0] <= 1, "{longest:?}");
    for minute in 3..9 {
        let [few, rest] = [0, 1].map(|n| within(&got[n], minute * TICKS_A_MINUTE));
        assert!((44..=46).contains(&few) && rest >= 370, "{few} and {rest} in minute {minute}");
    }
}

#[test]
fn a_returning_caller_has_neither_credit_nor_debt() {
    // B alone for ten minutes, or A with a tenth for as long. Then both want everything.
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
fn a_newcomers_first_pages_are_sent_at_once_although_others_use_their_maximum() {
    for others in 1..4 {
        let demands: Vec<_> = (0..others)
            .map(|_| all_since(0))
            .chain([Box::new(|tick: usize| if tick == 1933 { 9usize } else { 0 }) as Demand])
            .collect();
        let (_, longest) = play(&demands, TICKS_A_MINUTE * 4);
        assert_eq!(longest[others], 0, "beside {others}");
    }
}

/// This many requests at a tick, and the same again periodically, until another tick.
fn bursts(size: usize, from: usize, every: usize, to: usize) -> Demand {
    Box::new(
        move |now| if (from..to).contains(&now) && (now - from).is_multiple_of(every) { size } else { 0 },
    )
}

/// The tick at which a caller had sent this many requests.
fn had(got: &[usize], many: usize) -> usize {
    let mut sum = 0;
    got.iter()
        .position(|got| {
            sum += got;
            sum >= many
        })
        .unwrap_or(usize::MAX)
}

#[test]
fn a_caller_after_anothers_burst_does_not_wait_for_the_end_of_the_minute() {
    for hogs in 1..4 {
        let dashboard = bursts(5, 0, 100, usize::MAX);
        let cold = bursts(10, 200, 200, 1_201);
        let demands = (0..hogs).map(|_| all_since(0)).chain([dashboard, cold]).collect::<Vec<_>>();
        let (got, _) = play(&demands, TICKS_A_MINUTE * 3);
        for read in 0..6 {
            let waited = had(&got[hogs + 1], (read + 1) * 10) - (200 + read * 200);
            assert!(waited <= 10, "read {read} took {waited} ticks beside {hogs}");
        }
        for refresh in 0..12 {
            let waited = had(&got[hogs], (refresh + 1) * 5) - refresh * 100;
            assert!(waited <= 10, "refresh {refresh} took {waited} ticks beside {hogs}");
        }
        let sum: usize = got.iter().map(|got| within(got, TICKS_A_MINUTE)).sum();
        assert!(sum >= LIMIT * 93 / 100, "{sum} in a minute");
    }
}

#[test]
fn a_lone_caller_has_most_of_the_budget_at_once_and_no_long_read_takes_longer() {
    let took = |pages| had(&play(&[bursts(pages, 0, 1, 1)], TICKS_A_MINUTE * 3).0[0], pages);
    assert_eq!(took(LIMIT * 85 / 100), 0);
    assert!((1..TICKS_A_MINUTE).contains(&took(LIMIT * 95 / 100)));
    for pages in [LIMIT, LIMIT * 4 / 3, LIMIT * 2] {
        // As if no slots were spent evenly: the next minute begins when the first slots are free.
        let minutes = (pages - 1) / (LIMIT * 96 / 100);
        assert!(took(pages) <= minutes * TICKS_A_MINUTE + 12, "{} for {pages}", took(pages));
    }
}

#[test]
fn unwanted_budget_is_used() {
    let (got, _) = play(&[all_since(0)], TICKS_A_MINUTE * 3);
    for minute in 0..2 {
        assert!(within(&got[0], minute * TICKS_A_MINUTE) >= LIMIT * 95 / 100);
    }
}

/// The ticks at which each of `keys` new keys from one network, all arriving at once, has had its check and
/// then a page.
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
            let beyond = |group| budget.held_beyond_share(group);
            let Ok(id) = turns.next(|_, _| Ok(()), room, beyond) else { break };
            let id = usize::try_from(id).unwrap();
            let Flow { group, urgency, branch, .. } = if id < keys { checks[id] } else { pages[id - keys] };
            let slot = budget.take(RequestClass { urgency, group, branch }, now).unwrap();
            let slot = budget.answered(slot, now);
            if id < keys {
                budget.reassign(slot, pages[id].group, pages[id].branch);
                turns.push(&pages[id], (id + keys) as turns::WaiterId);
            } else {
                done.push(tick);
            }
        }
    }
    done
}

#[test]
fn serves_three_hundred_new_keys_once_the_window_has_moved() {
    let done = prove(300);
    assert_eq!(done.len(), 300);
    assert!(done[190] <= 10, "most keys are served at once: {done:?}");
    assert!(done[299] <= TICKS_A_MINUTE + 20, "{done:?}");
}

#[test]
fn two_callers_that_begin_at_nearly_the_same_time_share_evenly() {
    for (starts, bystander) in [((392, 378), 1), ((31, 22), 1), ((135, 88), 26), ((738, 821), 14)] {
        let (got, _) = play(&[all_since(starts.0), all_since(starts.1), evenly(bystander)], 2_700);
        for probe in (0..=600).step_by(10) {
            let from = starts.0.max(starts.1) + probe;
            let [a, b] = [0, 1].map(|n| within(&got[n], from));
            assert!(
                a * 100 <= (a + b) * 55 && b * 100 <= (a + b) * 55,
                "{a} and {b} at {starts:?} + {probe}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn neither_of_two_greedy_callers_gets_more_than_55_percent(
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
