use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::domain::{CallerId, PeerGroup};

const COLD: RequestClass = of(1, Urgency::Cold);
const REFRESH: RequestClass = of(1, Urgency::Refresh);
const RENEWAL: RequestClass = of(1, Urgency::Renewal);
const MINUTE: Duration = Duration::from_secs(60);

const fn of(caller: u8, urgency: Urgency) -> RequestClass {
    let group = ShareGroup::Caller(CallerId::Token([caller; 16]));
    RequestClass { urgency, group, branch: Branch::Peer(PeerGroup::Unknown) }
}

fn unproven(peer: u64) -> RequestClass {
    RequestClass {
        urgency: Urgency::Refresh,
        group: ShareGroup::Unproven,
        branch: Branch::Peer(PeerGroup::V6(peer)),
    }
}

/// Drops expired slots, then looks for room.
fn room(budget: &mut Budget, kind: RequestClass, now: Instant) -> Result<(), Instant> {
    budget.expire(now);
    budget.room(kind, Others::Content, 0, now)
}

fn budget(count: u32, per: Duration, reserve: u8) -> Budget {
    let rate = Rate { count: NonZeroU32::new(count).unwrap(), per };
    Budget::new(Some(rate), Fraction::percent(reserve).unwrap())
}

/// Takes as many slots as there are for this class.
fn drain(budget: &mut Budget, kind: RequestClass, now: Instant) -> usize {
    let mut count = 0;
    while room(budget, kind, now).is_ok() {
        budget.take(kind, now);
        count += 1;
    }
    count
}

#[test]
fn the_whole_budget_may_be_sent_at_once_and_no_more() {
    let now = Instant::now();
    let mut budget = budget(450, MINUTE, 0);
    assert_eq!(drain(&mut budget, COLD, now), 395);
    assert_eq!(drain(&mut budget, of(2, Urgency::Cold), now), 55, "left for newcomers");
    let free = room(&mut budget, COLD, now).unwrap_err();
    assert!(free >= now + MINUTE && free <= now + MINUTE + LONGEST_WAY + SLACK);
    assert_eq!(
        drain(&mut budget, COLD, free + LONGEST_WAY),
        340,
        "slots that the other one gave up are still reserved for it"
    );
}

#[test]
fn a_lone_caller_gets_the_time_at_which_it_may_really_send() {
    let mut now = Instant::now();
    let mut budget = budget(100, MINUTE, 20);
    for _ in 0..40 {
        budget.take(COLD, now);
    }
    now += MINUTE / 2;
    drain(&mut budget, COLD, now);
    // The first 40 slots are free again and taken at once: slots that the caller itself gave up are not
    // reserved.
    now = room(&mut budget, COLD, now).unwrap_err();
    drain(&mut budget, COLD, now + LONGEST_WAY);
    let told = room(&mut budget, COLD, now + LONGEST_WAY).unwrap_err();
    assert!(told > now + LONGEST_WAY, "{:?}", told - now);
    assert!(room(&mut budget, COLD, told).is_ok());
}

#[test]
fn the_last_slots_are_spent_evenly_until_more_are_free() {
    let start = Instant::now();
    let mut budget = budget(100, MINUTE, 0);
    let mut now = start;
    let mut sent = Vec::new();
    while sent.len() < 96 {
        match room(&mut budget, REFRESH, now) {
            Ok(()) => {
                let slot = budget.take(REFRESH, now).unwrap();
                budget.answered(slot, now);
                sent.push(now - start);
            }
            Err(at) => now = at,
        }
    }
    assert_eq!(sent.iter().filter(|at| at.is_zero()).count(), 88);
    let step = MINUTE / 8;
    for (sent, number) in sent[88..].iter().zip(1..) {
        assert!((step * number..=step * number + SLACK).contains(sent), "the {number}th at {sent:?}");
    }
    // A newcomer would have found a slot whenever it came.
    assert!(room(&mut budget, of(2, Urgency::Refresh), now).is_ok());
}

#[test]
fn without_a_limit_there_is_always_room() {
    let mut budget = Budget::new(None, Fraction::percent(20).unwrap());
    for _ in 0..10_000 {
        assert_eq!(budget.room(COLD, Others::Content, 100, Instant::now()), Ok(()));
        assert_eq!(budget.take(COLD, Instant::now()), None);
    }
}

#[test]
fn cold_reads_leave_the_reserve_and_may_use_the_rest() {
    let now = Instant::now();
    let mut cold_first = budget(100, MINUTE, 20);
    assert_eq!(drain(&mut cold_first, COLD, now), 67);
    assert_eq!(drain(&mut cold_first, REFRESH, now), 20);
    assert_eq!(drain(&mut cold_first, of(2, Urgency::Refresh), now), 13);

    let mut refresh_first = budget(100, MINUTE, 20);
    for _ in 0..20 {
        refresh_first.take(REFRESH, now);
    }
    assert_eq!(drain(&mut refresh_first, COLD, now), 67);
}

#[test]
fn a_reserve_never_makes_cold_reads_impossible() {
    for (count, reserve) in [(1, 20), (1, 100), (4, 20), (3, 100)] {
        let now = Instant::now();
        assert!(drain(&mut budget(count, MINUTE, reserve), COLD, now) >= 1, "{count} {reserve}");
    }
}

#[test]
fn renewals_fill_lulls_and_leave_three_tenths_to_waiting_requests() {
    let mut now = Instant::now();
    let mut budget = budget(300, MINUTE, 20);
    // Other requests are sent in a burst, and renewals wait until it is over.
    assert_eq!(drain(&mut budget, REFRESH, now), 263);
    now = room(&mut budget, RENEWAL, now).unwrap_err();
    let mut sent = Vec::new();
    for _ in 0..2_400 {
        now += Duration::from_millis(50);
        while room(&mut budget, RENEWAL, now).is_ok() {
            let slot = budget.take(RENEWAL, now).unwrap();
            budget.answered(slot, now);
            sent.push(now);
        }
    }
    let most_within = |length| {
        sent.iter()
            .map(|at| sent.iter().filter(|other| **other >= *at && **other < *at + length).count())
            .max()
    };
    assert_eq!(most_within(Duration::from_secs(3)), Some(10), "an even share");
    assert!((190..=210).contains(&most_within(MINUTE).unwrap()), "{:?}", most_within(MINUTE));
    assert!((28..=40).contains(&drain(&mut budget, COLD, now)));
}

#[test]
fn unproven_keys_use_half_of_an_idle_budget_and_a_tenth_if_others_wait() {
    let now = Instant::now();
    let mut idle = budget(100, MINUTE, 0);
    assert_eq!(drain(&mut idle, unproven(1), now), 45, "the rest is for other networks");
    assert_eq!(drain(&mut idle, unproven(2), now), 5);
    assert_eq!(drain(&mut idle, unproven(3), now), 0);
    let mut wanted = budget(100, MINUTE, 0);
    while wanted.room(unproven(1), Others::Wait, 0, now).is_ok() {
        wanted.take(unproven(1), now);
    }
    assert_eq!(wanted.left(now), Some(91));
    assert_eq!(drain(&mut wanted, REFRESH, now), 78);
}

#[test]
fn an_unsent_request_frees_its_slot() {
    let now = Instant::now();
    let mut budget = budget(1, MINUTE, 0);
    let slot = budget.take(COLD, now).unwrap();
    assert!(room(&mut budget, COLD, now).is_err());
    budget.give_back(slot);
    assert!(room(&mut budget, COLD, now).is_ok());
    assert!(budget.is_idle(now));
}

#[test]
fn an_early_response_frees_its_slot_earlier() {
    let now = Instant::now();
    let mut budget = budget(1, MINUTE, 0);
    let slot = budget.take(COLD, now).unwrap();
    budget.answered(slot, now + Duration::from_millis(30));
    let free = room(&mut budget, COLD, now).unwrap_err();
    assert_eq!(free, now + Duration::from_millis(30) + MINUTE + SLACK);
}

#[test]
fn requests_ahead_count_as_sent() {
    let now = Instant::now();
    let mut budget = budget(2, MINUTE, 0);
    assert_eq!(budget.room(COLD, Others::Content, 1, now), Ok(()));
    budget.take(COLD, now);
    budget.take(COLD, now + Duration::from_secs(5));
    let at =
        |ahead| budget.room(COLD, Others::Content, ahead, now + Duration::from_secs(5)).unwrap_err() - now;
    let waits: Vec<_> = [0, 1, 2].map(at).to_vec();
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
}

proptest! {
    /// Requests are sent as early as the budget lets them, travel for a while, and are answered.
    #[test]
    fn upstream_never_sees_more_in_any_period(
        count in 1u32..8,
        asks in prop::collection::vec((0u64..400, 0u64..50, 0u64..200, any::<bool>()), 1..120),
    ) {
        let per = Duration::from_secs(1);
        let millis = Duration::from_millis;
        let start = Instant::now();
        let mut budget = budget(count, per, 20);
        let mut now = start;
        let mut seen = Vec::new();
        for (gap, there, back, is_refresh) in asks {
            now += millis(gap);
            let kind = if is_refresh { REFRESH } else { COLD };
            while let Err(at) = room(&mut budget, kind, now) {
                prop_assert!(at > now);
                now = at;
            }
            let slot = budget.take(kind, now).unwrap();
            seen.push(now + millis(there));
            budget.answered(slot, now + millis(there + back));
        }
        seen.sort();
        for window in seen.windows(count as usize + 1) {
            prop_assert!(window[count as usize] - window[0] > per);
        }
    }

    #[test]
    fn throughput_stays_near_the_rate(way in 0u64..40) {
        let start = Instant::now();
        let mut budget = budget(20, Duration::from_secs(1), 0);
        let mut now = start;
        for _ in 0..400 {
            while let Err(at) = room(&mut budget, COLD, now) {
                now = at;
            }
            let slot = budget.take(COLD, now).unwrap();
            budget.answered(slot, now + Duration::from_millis(way));
        }
        prop_assert!(now - start < Duration::from_millis(19 * 1_060));
    }
}

#[test]
fn requests_of_the_previous_process_count_for_a_period() {
    let sent = Instant::now();
    let mut budget = budget(450, MINUTE, 20);
    for _ in 0..450 {
        budget.remember(sent);
    }
    let now = sent + MINUTE / 2;
    for kind in [COLD, REFRESH, RENEWAL, unproven(1)] {
        assert_eq!(room(&mut budget, kind, now), Err(sent + MINUTE + LONGEST_WAY + SLACK));
    }
    let later = sent + MINUTE + LONGEST_WAY + SLACK;
    assert_eq!((budget.left(now), budget.left(later)), (Some(0), Some(450)));
    assert_eq!(drain(&mut budget, REFRESH, later), 395, "it leaves neither debt nor a share");
}

#[test]
fn requests_of_the_previous_process_belong_to_no_share() {
    let now = Instant::now();
    let mut budget = budget(450, MINUTE, 0);
    for _ in 0..100 {
        budget.remember(now);
    }
    assert_eq!(budget.holdings(), BudgetHoldings::default());
    assert!(budget.has_room_to_prove(), "after a restart no key has been accepted yet");
    // As without them: 395 minus the slots that are taken.
    assert_eq!(drain(&mut budget, COLD, now), 295);
}

proptest! {
    /// Restarted at any moment: what both processes send together stays within the rate in any minute.
    #[test]
    fn a_restart_never_exceeds_the_rate(gaps in prop::collection::vec(0u64..400, 50..200), restart in 0usize..200) {
        const RATE: u32 = 20;
        let mut now = Instant::now();
        let (mut one, mut sent) = (budget(RATE, MINUTE, 0), Vec::<Instant>::new());
        for (number, gap) in gaps.iter().enumerate() {
            now += Duration::from_millis(gap * 10);
            if number == restart {
                one = budget(RATE, MINUTE, 0);
                sent.iter().filter(|at| **at + 2 * MINUTE > now).for_each(|at| one.remember(*at));
            }
            if room(&mut one, REFRESH, now).is_ok() {
                one.take(REFRESH, now);
                sent.push(now);
            }
            let lately = sent.iter().filter(|at| **at + MINUTE > now).count();
            prop_assert!(lately <= RATE as usize);
        }
    }
}
