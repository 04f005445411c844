//! Work ends when its last waiter leaves, at every stage; background work ends with a stop.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::bent::{Bent, bent, soon, streamed};
use super::relays::relay_question;
use super::*;
use crate::source::SourceError;

/// An engine over a bent upstream, and the number of requests that wait or are in flight.
fn counted(settings: EngineSettings, bend: impl FnOnce(&mut Bent)) -> (Rig, Arc<AtomicUsize>) {
    let asking = Arc::default();
    let counter = Arc::clone(&asking);
    let rig = bent(settings, |bent| {
        bent.asking = counter;
        bend(bent);
    });
    (rig, asking)
}

fn of_agent(rig: &Rig, agent: u128) -> Question {
    Question { agent: AgentId::new(Uuid::from_u128(agent)), ..rig.question() }
}

/// A hundred callers request as many agents, streamed and collected, and leave after 150 ms. No work may
/// remain.
async fn come_and_go(rig: Rig, asking: Arc<AtomicUsize>) {
    let patience = Duration::from_millis(150);
    let callers = (0..100).map(|agent| {
        let question = of_agent(&rig, agent);
        let question = if agent % 2 == 0 { streamed(question) } else { question };
        let rig = &rig;
        async move { tokio::time::timeout(patience, rig.collect(question)).await }
    });
    let answers = join_all(callers).await;
    assert!(answers.iter().all(Result::is_err), "no caller is answered in time");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((rig.shutdown.running(), asking.load(Ordering::Relaxed)), (0, 0), "tasks, requests");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn checks_of_made_up_agents_end_with_their_callers() {
    let (rig, asking) = counted(settings(), |bent| {
        bent.check = 3_600 * SECOND;
        bent.before = Box::new(|_, _, _| Ok(3_600 * SECOND));
    });
    come_and_go(rig, asking).await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_for_their_turn_end_with_their_callers() {
    let (rig, asking) = counted(settings(), |bent| bent.before = Box::new(|_, _, _| Ok(3_600 * SECOND)));
    come_and_go(rig.with_history(400, 20), asking).await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_for_upstream_end_with_their_callers() {
    let (rig, asking) = counted(settings(), |bent| bent.back = Box::new(|_, _, _| Ok(3_600 * SECOND)));
    come_and_go(rig.with_history(400, 20), asking).await;
}

#[tokio::test(start_paused = true)]
async fn a_relayed_page_ends_with_its_last_caller() {
    let (rig, asking) = counted(settings(), |bent| bent.set_relays(|_| Ok((3_600 * SECOND, "{}"))));
    let callers = (1..4).map(|n| {
        let page = rig.engine.relay(relay_question(&rig));
        tokio::time::timeout(n * SECOND, page)
    });
    assert!(join_all(callers).await.iter().all(Result::is_err));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((rig.shutdown.running(), asking.load(Ordering::Relaxed)), (0, 0), "tasks, requests");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_have_not_started_are_unregistered_when_their_caller_leaves() {
    let rig = Rig::new(settings(), 1).with_history(2_000, 400);
    let answer = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let Question { credential, agent, filters, .. } = rig.question();
    let scope = rig.engine.state.scopes.find(&crate::source::Subject { credential, agent, filters }).unwrap();
    assert!(scope.lock().readings.len() > 10);
    drop(answer);
    assert!(scope.lock().readings.is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_key_is_never_checked_is_refused_within_its_row_wait() {
    let (rig, asking) = counted(settings(), |bent| bent.check = 3_600 * SECOND);
    let began = Instant::now();
    let error = rig.engine.ask(streamed(rig.question())).await.unwrap_err();
    assert!(matches!(error, AskError::NotReady { .. } | AskError::Source(SourceError::TimedOut)), "{error}");
    assert!(began.elapsed() <= 50 * SECOND, "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(asking.load(Ordering::Relaxed), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_row_is_refused_within_its_row_wait() {
    let (rig, asking) = counted(settings(), |bent| bent.before = Box::new(|_, _, _| Ok(3_600 * SECOND)));
    let rig = rig.with_history(400, 20);
    let began = Instant::now();
    let error = rig.engine.ask(streamed(rig.question())).await.unwrap_err();
    assert!(matches!(error, AskError::NotReady { .. }), "{error}");
    assert!(began.elapsed() <= 50 * SECOND, "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(asking.load(Ordering::Relaxed), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_budget_does_not_count_toward_the_row_wait() {
    let (rig, _) = counted(settings(), |bent| {
        bent.before = Box::new(|_, page, _| Ok(if page.number > 2 { 600 * SECOND } else { Duration::ZERO }));
    });
    let rig = rig.with_history(400, 2);
    let question = rig.question();
    assert_eq!(soon(rig.stream(question.clone())).await.unwrap(), rig.truth(&question));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_begun_ends_when_its_next_row_takes_longer_than_its_row_wait() {
    let (rig, asking) = counted(settings(), |bent| {
        bent.back = Box::new(|_, page, _| Ok(if page.number > 2 { 600 * SECOND } else { Duration::ZERO }));
    });
    let rig = rig.with_history(400, 2);
    let mut answer = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let mut rows = 0;
    let (asked, error) = loop {
        let asked = Instant::now();
        match answer.next().await {
            Ok(slice) => rows += slice.expect("it does not end").rows().count(),
            Err(error) => break (asked, error),
        }
    };
    assert!(matches!(error, AskError::Source(SourceError::TimedOut)), "{error}");
    assert!(rows >= 50, "{rows}");
    assert_eq!(asked.elapsed(), 50 * SECOND);
    drop(answer);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(asking.load(Ordering::Relaxed), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_joined_a_hung_read_ends_at_its_own_row_wait() {
    let (rig, _) = counted(settings(), |bent| {
        bent.back = Box::new(|_, page, _| Ok(if page.number > 2 { 600 * SECOND } else { Duration::ZERO }));
    });
    let rig = rig.with_history(400, 2);
    let patient = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let mode = ResponseMode::Streamed { row_wait: 10 * SECOND };
    let mut answer = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    let (asked, error) = loop {
        let asked = Instant::now();
        if let Err(error) = answer.next().await {
            break (asked, error);
        }
    };
    assert!(matches!(error, AskError::Source(SourceError::TimedOut)), "{error}");
    assert_eq!(asked.elapsed(), 10 * SECOND);
    drop(patient);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_stream_leaves_out_what_is_not_read_within_its_row_wait() {
    let (rig, _) = counted(settings(), |bent| {
        bent.back = Box::new(|_, _, number| Ok(if number > 2 { 600 * SECOND } else { Duration::ZERO }));
    });
    let rig = rig.with_history(4_000, 20);
    let question = Question { tolerance: Tolerance::Lenient, ..streamed(rig.question()) };
    let mut answer = rig.engine.ask(question).await.unwrap();
    let began = Instant::now();
    while answer.next().await.unwrap().is_some() {}
    assert!(began.elapsed() <= 51 * SECOND, "{:?}", began.elapsed());
    assert!(!answer.verdict().missing.is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_background_reads() {
    let settings = EngineSettings { stale_while_revalidate: 600 * SECOND, ..settings() };
    let is_slow = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let slow = Arc::clone(&is_slow);
    let (rig, asking) = counted(settings, |bent| {
        bent.before = Box::new(move |_, _, _| {
            Ok(if slow.load(Ordering::Relaxed) { 3_600 * SECOND } else { Duration::ZERO })
        });
    });
    let rig = rig.with_history(300, 20);
    rig.rows(rig.question()).await;
    is_slow.store(true, Ordering::Relaxed);
    pass(30 * SECOND).await;
    for _ in 0..3 {
        let stale = rig.collect(rig.question()).await.unwrap();
        assert!(stale.verdict.report.stale.is_some());
    }
    tokio::time::sleep(SECOND).await;
    assert!(asking.load(Ordering::Relaxed) > 0, "something is read in the background");
    rig.shutdown.drain();
    tokio::time::timeout(SECOND, rig.shutdown.finished()).await.expect("no task is left");
    assert_eq!(asking.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn background_reads_are_bounded_in_number_and_time() {
    let settings = EngineSettings { stale_while_revalidate: 6_000 * SECOND, ..settings() };
    let is_slow = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let slow = Arc::clone(&is_slow);
    let (rig, asking) = counted(settings, |bent| {
        bent.before = Box::new(move |_, _, _| {
            Ok(if slow.load(Ordering::Relaxed) { 3_600 * SECOND } else { Duration::ZERO })
        });
    });
    let rig = rig.with_history(20, 2);
    let agents = 200;
    join_all((0..agents).map(|agent| rig.rows(of_agent(&rig, agent)))).await;
    is_slow.store(true, Ordering::Relaxed);
    pass(30 * SECOND).await;
    join_all((0..agents).map(|agent| rig.rows(of_agent(&rig, agent)))).await;
    tokio::time::sleep(SECOND).await;
    let reads = asking.load(Ordering::Relaxed);
    assert!((1..=64).contains(&reads), "{reads}");
    tokio::time::sleep(61 * SECOND).await;
    assert_eq!((rig.shutdown.running(), asking.load(Ordering::Relaxed)), (0, 0), "tasks, requests");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_answer_that_ends_while_a_refusal_is_confirmed_names_the_refused_part() {
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let refused = Arc::clone(&refuses);
    let (rig, _) = counted(settings(), |bent| {
        bent.check = 30 * SECOND;
        bent.before = Box::new(move |_, page, _| match refused.load(Ordering::Relaxed) && page.number == 1 {
            true => Err(SourceError::Denied(super::script::words(403))),
            false => Ok(Duration::ZERO),
        });
    });
    let rig = rig.with_history(100, 5);
    rig.rows(rig.question()).await;
    refuses.store(true, Ordering::Relaxed);
    pass(5 * SECOND).await;
    let mode = ResponseMode::Collected { deadline: Instant::now() + 10 * SECOND };
    let lenient = Question { tolerance: Tolerance::Lenient, mode, ..rig.question() };
    let collected = rig.collect(lenient).await;
    assert!(!collected.is_ok_and(|collected| collected.verdict.is_complete()), "the head was never read");
    rig.close().await;
}
