use std::num::NonZeroU32;

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::source::{Deadline, QuestionId, RequestContext, Urgency};
use crate::telemetry::BreakerState;
use crate::upstream::settings::{Fraction, Rate, RateScope};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn gate(count: u32, per: Duration, concurrency: usize) -> Gate {
    let rate = NonZeroU32::new(count).map(|count| Rate { count, per });
    let lanes = Lanes::new(RateScope::Shared, rate, Fraction::percent(20).unwrap());
    Gate::with(lanes, NonZeroUsize::new(concurrency).unwrap())
}

pub(super) fn context(urgency: Urgency) -> RequestContext {
    RequestContext::for_test(urgency)
}

pub(super) fn asker(context: &RequestContext) -> PassRequest<'_> {
    PassRequest {
        credential: CredentialId::new([1; 16]),
        agent: AgentId::new(Uuid::from_u128(1)),
        standing: KeyAcceptance::Accepted,
        since: Instant::now(),
        context,
    }
}

pub(super) async fn enter(gate: &Gate, context: &RequestContext) -> Result<Pass, GateRefusal> {
    gate.enter(asker(context)).await
}

/// Checks that no connection and no queued request is left.
fn assert_idle(gate: &Gate) {
    let mut state = gate.state.lock();
    assert_eq!((state.connections.in_flight(), state.waiters.len()), (0, 0));
    assert!(state.lanes.busy.is_empty());
    assert!(state.lanes.all().all(|lane| lane.turns.len() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_sent_at_once_and_the_next_one_a_period_later() {
    let gate = gate(10, MINUTE, 100);
    let context = context(Urgency::Refresh);
    let start = Instant::now();
    for _ in 0..10 {
        enter(&gate, &context).await.unwrap().finish(PassOutcome::Answered);
    }
    assert_eq!(Instant::now(), start);
    enter(&gate, &context).await.unwrap().finish(PassOutcome::Answered);
    let waited = start.elapsed();
    assert!(waited > MINUTE && waited < MINUTE + Duration::from_secs(2), "{waited:?}");
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn names_the_time_until_there_is_room() {
    let gate = gate(10, MINUTE, 100);
    let context = context(Urgency::Refresh);
    let room = |requests| {
        let credential = CredentialId::new([1; 16]);
        let who =
            Applicant { credential, caller: Caller::of_key(credential), standing: KeyAcceptance::Accepted };
        gate.room_for(who, Urgency::Refresh, requests).as_secs()
    };
    assert_eq!((room(0), room(1), room(10)), (0, 0, 0));
    for _ in 0..5 {
        enter(&gate, &context).await.unwrap().finish(PassOutcome::Answered);
    }
    tokio::time::advance(MINUTE / 3).await;
    for _ in 0..5 {
        enter(&gate, &context).await.unwrap().finish(PassOutcome::Answered);
    }
    // The first five slots are free after a minute, then the others; a slot counts for slightly longer than
    // that.
    assert!((40..=42).contains(&room(1)) && (40..=42).contains(&room(5)), "{} {}", room(1), room(5));
    assert!((60..=62).contains(&room(6)) && (60..=62).contains(&room(10)), "{} {}", room(6), room(10));
    assert!((100..=125).contains(&room(15)), "{}", room(15));
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn many_waiters_all_get_their_turn_within_the_rate() {
    let gate = gate(20, Duration::from_secs(1), 4);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for i in 0..200u64 {
        let gate = gate.clone();
        tasks.spawn(async move {
            let context = context(if i % 3 == 0 { Urgency::Refresh } else { Urgency::Cold });
            let pass = enter(&gate, &context).await.unwrap();
            let sent = Instant::now();
            tokio::time::sleep(Duration::from_millis(i % 40)).await;
            pass.answered(None);
            pass.finish(PassOutcome::Answered);
            sent
        });
    }
    let mut sent = tasks.join_all().await;
    sent.sort();
    for window in sent.windows(21) {
        assert!(window[20] - window[0] > Duration::from_secs(1));
    }
    assert!(start.elapsed() < Duration::from_secs(13), "{:?}", start.elapsed());
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_in_flight_than_connections() {
    let gate = gate(0, MINUTE, 2);
    let context = context(Urgency::Cold);
    let first = enter(&gate, &context).await.unwrap();
    let _second = enter(&gate, &context).await.unwrap();
    let mut third = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(first);
    let third = third.await.unwrap();
    assert_eq!(gate.readings().in_flight, 2);
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_connection_is_not_a_wait_for_the_budget() {
    let gate = gate(3, MINUTE, 2);
    let context = context(Urgency::Refresh);
    let first = enter(&gate, &context).await.unwrap();
    let _second = enter(&gate, &context).await.unwrap();
    assert!(!gate.is_short_of_budget(asker(&context)), "no connection is free, but the budget has room");
    drop(first);
    let _third = enter(&gate, &context).await.unwrap();
    assert!(gate.is_short_of_budget(asker(&context)), "the budget is spent");
}

#[tokio::test(start_paused = true)]
async fn refreshes_precede_cold_reads() {
    let gate = gate(0, MINUTE, 1);
    let (cold, refresh, renewal) =
        (context(Urgency::Cold), context(Urgency::Refresh), context(Urgency::Renewal));
    let pass = enter(&gate, &cold).await.unwrap();
    let mut line = [&renewal, &cold, &refresh].map(|context| Box::pin(enter(&gate, context)));
    for waiting in &mut line {
        assert!(futures_util::poll!(waiting).is_pending());
    }
    drop(pass);
    let [renewal, cold, refresh] = line;
    let pass = refresh.await.unwrap();
    drop(pass);
    let pass = cold.await.unwrap();
    drop(pass);
    drop(renewal.await.unwrap());
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_the_queue_holds_nothing() {
    let gate = gate(0, MINUTE, 1);
    let context = context(Urgency::Cold);
    let pass = enter(&gate, &context).await.unwrap();
    let mut granted = Box::pin(enter(&gate, &context));
    let mut waiting = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut granted).is_pending());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    // The first in the queue has its turn, and leaves before it notices.
    drop(pass);
    drop(granted);
    drop(waiting.await.unwrap());
    let mut alone = Box::pin(enter(&gate, &context));
    let pass = (&mut alone).await.unwrap();
    drop(pass);
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_never_used_costs_no_budget() {
    let gate = gate(2, MINUTE, 1);
    let context = context(Urgency::Refresh);
    let pass = enter(&gate, &context).await.unwrap();
    let mut granted = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut granted).is_pending());
    drop(pass);
    assert_eq!(gate.readings().budget_left, Some(0));
    drop(granted);
    assert_eq!(gate.readings().budget_left, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_leaves_wakes_the_next() {
    let gate = gate(1, MINUTE, 10);
    let context = context(Urgency::Cold);
    drop(enter(&gate, &context).await.unwrap());
    let mut driver = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut driver).is_pending());
    let heir = gate.clone();
    let mut heirs_turn = context.clone();
    heirs_turn.question = QuestionId::unique();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { enter(&heir, &heirs_turn).await.is_ok() });
    tokio::task::yield_now().await;
    drop(driver);
    assert_eq!(tasks.join_all().await, [true]);
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_new_driver_that_has_its_turn_first_wakes_the_next() {
    let gate = gate(1, MINUTE, 10);
    let context = context(Urgency::Cold);
    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        let (gate, context) = (gate.clone(), context.clone());
        tasks.spawn(async move { drop(enter(&gate, &context).await.unwrap()) });
    }
    assert_eq!(tasks.join_all().await.len(), 5);
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_certain_to_be_late_is_refused_at_once() {
    let gate = gate(1, MINUTE, 10);
    let mut context = context(Urgency::Cold);
    drop(enter(&gate, &context).await.unwrap());
    let start = Instant::now();
    context.budget_wait = Some(Duration::from_secs(2));
    let refused = enter(&gate, &context).await.unwrap_err();
    context.budget_wait = None;
    context.deadline = Some(Deadline::at(start + Duration::from_secs(30)));
    assert!(matches!(enter(&gate, &context).await, Err(GateRefusal::NoRoom(_))));
    assert_eq!(Instant::now(), start);
    let GateRefusal::NoRoom(after) = refused else { panic!("{refused:?}") };
    assert!(after > Duration::from_secs(59) && after < Duration::from_secs(65), "{after:?}");
    context.deadline = Some(Deadline::at(start + Duration::from_secs(90)));
    assert!(enter(&gate, &context).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_moves_later_is_waited_for() {
    let gate = gate(0, MINUTE, 1);
    let pass = enter(&gate, &context(Urgency::Cold)).await.unwrap();
    let mut context = context(Urgency::Cold);
    let start = Instant::now();
    let deadline = Deadline::at(start + Duration::from_secs(5));
    context.deadline = Some(deadline.clone());
    let mut waiting = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    deadline.extend_to(start + Duration::from_secs(9));
    assert!(matches!(waiting.await, Err(GateRefusal::Busy)));
    assert!(start.elapsed() >= Duration::from_secs(9));
    drop(pass);
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_429_about_one_agent_pauses_that_agent_alone() {
    let gate = gate(100, MINUTE, 10);
    let context = context(Urgency::Refresh);
    let start = Instant::now();
    let asked = Duration::from_secs(7);
    enter(&gate, &context).await.unwrap().finish(PassOutcome::Limited(Some(asked)));
    let other = PassRequest { agent: AgentId::new(Uuid::from_u128(2)), ..asker(&context) };
    drop(gate.enter(other).await.unwrap());
    assert_eq!((start.elapsed(), gate.readings().slowed_agents), (Duration::ZERO, 1));
    drop(enter(&gate, &context).await.unwrap());
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_429_about_a_second_agent_within_seconds_pauses_everybody() {
    let gate = gate(100, MINUTE, 10);
    let context = context(Urgency::Refresh);
    let of = |agent| PassRequest { agent: AgentId::new(Uuid::from_u128(agent)), ..asker(&context) };
    let asked = Duration::from_secs(7);
    for agent in [1, 2] {
        gate.enter(of(agent)).await.unwrap().finish(PassOutcome::Limited(Some(asked)));
    }
    assert_eq!(gate.readings().paused_for, asked);
    let start = Instant::now();
    drop(gate.enter(of(3)).await.unwrap());
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_pause_refuses_queued_requests_that_it_outlasts() {
    let gate = gate(0, MINUTE, 1);
    let pass = enter(&gate, &context(Urgency::Cold)).await.unwrap();
    let mut context = context(Urgency::Cold);
    let start = Instant::now();
    context.deadline = Some(Deadline::at(start + Duration::from_secs(10)));
    let mut waiting = Box::pin(enter(&gate, &context));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    pass.finish(PassOutcome::Limited(Some(Duration::from_secs(60))));
    assert_eq!(waiting.await.unwrap_err(), GateRefusal::NoRoom(Duration::from_secs(60)));
    assert_eq!(Instant::now(), start);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_queued_and_new_requests() {
    let gate = gate(0, MINUTE, 10);
    let context = context(Urgency::Cold);
    let mut held = Vec::new();
    // One caller can't use the tenth connection.
    for agent in 0..9 {
        let asker = PassRequest { agent: AgentId::new(Uuid::from_u128(agent)), ..asker(&context) };
        held.push(gate.enter(asker).await.unwrap());
    }
    let mut line: Vec<_> = (0..6).map(|_| Box::pin(enter(&gate, &context))).collect();
    for waiting in &mut line {
        assert!(futures_util::poll!(waiting).is_pending());
    }
    // Five requests fail: each of the first four makes room for one more before the fifth opens the breaker.
    for pass in held.drain(..5) {
        pass.finish(PassOutcome::Failed(Fault::Connection));
    }
    assert!(matches!(line.pop().unwrap().await, Err(GateRefusal::Down(_))));
    assert!(matches!(enter(&gate, &context).await, Err(GateRefusal::Down(_))));
    assert_eq!(gate.readings().breaker, BreakerState::Open);
    drop((held, line));
    assert_idle(&gate);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_one_probe_admits_all_requests_again() {
    let gate = gate(0, MINUTE, 10);
    let context = context(Urgency::Cold);
    for _ in 0..5 {
        enter(&gate, &context).await.unwrap().finish(PassOutcome::Failed(Fault::Connection));
    }
    let Err(GateRefusal::Down(rest)) = enter(&gate, &context).await else { panic!("closed") };
    tokio::time::advance(rest).await;
    let abandoned = enter(&gate, &context).await.unwrap();
    assert!(matches!(enter(&gate, &context).await, Err(GateRefusal::Down(_))));
    drop(abandoned);
    let probe = enter(&gate, &context).await.unwrap();
    probe.finish(PassOutcome::Answered);
    assert_eq!(gate.readings().breaker, BreakerState::Closed);
    assert!(enter(&gate, &context).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unproven_keys_leave_connections_to_others() {
    let gate = gate(0, MINUTE, 20);
    let context = context(Urgency::Refresh);
    let unproven = PassRequest { standing: KeyAcceptance::Unproven, ..asker(&context) };
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(gate.enter(unproven).await.unwrap());
    }
    let mut next = Box::pin(gate.enter(unproven));
    assert!(futures_util::poll!(&mut next).is_pending());
    assert!(enter(&gate, &context).await.is_ok());
    drop(held);
    assert!(next.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn credentials_with_separate_budgets_share_only_the_connections() {
    let rate = Rate { count: NonZeroU32::MIN, per: MINUTE };
    let lanes = Lanes::new(RateScope::Credential, Some(rate), Fraction::percent(0).unwrap());
    let gate = Gate::with(lanes, NonZeroUsize::new(2).unwrap());
    let mut context = context(Urgency::Refresh);
    context.budget_wait = Some(Duration::ZERO);
    let by = |n| PassRequest { credential: CredentialId::new([n; 16]), ..asker(&context) };
    let _one = gate.enter(by(1)).await.unwrap();
    assert!(matches!(gate.enter(by(1)).await, Err(GateRefusal::NoRoom(_))));
    let _two = gate.enter(by(2)).await.unwrap();
    assert!(matches!(gate.enter(by(3)).await, Err(GateRefusal::Busy)));
}
