//! Every answer ends, even if other callers are slow or leave.

use std::sync::atomic::AtomicBool;

use super::bent::{bent, on_a_thread, soon, streamed, with_slow_pages};
use super::script::unavailable;
use super::*;
use crate::engine::reading::RequestStage;
use crate::source::{SourceError, Subject};

#[tokio::test(start_paused = true)]
async fn a_stream_of_older_rows_does_not_wait_for_a_slow_stream_of_newer_ones() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 5);
    let first = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let lower = Question { to: Some(NOW.minus(4 * DAY)), ..rig.question() };
    assert_eq!(soon(rig.stream(lower.clone())).await.unwrap(), rig.truth(&lower));
    drop(first);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_older_rows_continues_after_a_slow_stream_of_newer_ones_is_dropped() {
    let rig = Rig::new(settings(), 1).with_history(2_000, 5);
    let first = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let lower = Question { to: Some(NOW.minus(4 * DAY)), ..rig.question() };
    let leaving = async {
        tokio::time::sleep(60 * SECOND).await;
        drop(first);
    };
    let (rows, ()) = soon(async { tokio::join!(rig.stream(lower.clone()), leaving) }).await;
    assert_eq!(rows.unwrap(), rig.truth(&lower));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_stream_continues_after_failed_parts() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 100);
    rig.script.world().refuse = Some(Box::new(|number| (number <= 8).then(unavailable)));
    let lenient = Question { tolerance: Tolerance::Lenient, ..rig.question() };
    let rows = soon(rig.stream(lenient)).await.unwrap();
    assert!(rows.len() > 500 && rows.len() < 1_500, "{}", rows.len());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_ends_although_its_entries_are_evicted() {
    let rig =
        Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(30 * SECOND).await;
    let mut answer = rig.engine.ask(streamed(rig.question())).await.unwrap();
    rig.evict();
    rig.requests();
    let end =
        tokio::time::timeout(600 * SECOND, async { while let Ok(Some(_)) = answer.next().await {} }).await;
    let requests = rig.requests();
    assert!(end.is_ok(), "no end after {requests} requests");
    drop(answer);
    rig.close().await;
}

#[test]
fn a_request_for_rows_that_a_read_has_passed_does_not_spin() {
    on_a_thread(|| async {
        let rig = with_slow_pages(settings(), &Arc::new(AtomicBool::new(true))).with_history(400, 2);
        let directives = CacheDirectives { no_store: true, ..CacheDirectives::default() };
        let first = rig.rows(Question { directives, ..rig.question() });
        let second = async {
            tokio::time::sleep(SECOND / 2).await;
            let top = Question { from: Some(NOW.minus(DAY / 10)), ..rig.question() };
            assert_eq!(rig.rows(top.clone()).await, rig.truth(&top));
        };
        tokio::join!(first, second);
        rig.close().await;
    });
}

/// An upstream that refuses the prefetched page, and whose later pages are slow.
fn with_refused_prefetch(rows: u32) -> Rig {
    let rig = bent(settings(), |bent| {
        bent.before = Box::new(|_, page, number| match (number, page.number) {
            (0, _) => Err(limited()),
            (_, 1 | 2) => Ok(Duration::ZERO),
            _ => Ok(40 * SECOND),
        });
    });
    rig.with_history(rows, 2)
}

fn limited() -> SourceError {
    SourceError::RateLimited { retry_after: SECOND, upstream: None }
}

#[tokio::test(start_paused = true)]
async fn a_page_refused_before_the_first_rows_are_there_does_not_end_a_stream_that_may_wait() {
    let rig = bent(settings(), |bent| {
        // There is no room by the deadline of the first row. The stream has more time as soon as it has a row.
        bent.before = Box::new(|_, page, number| match (number, page.number) {
            (1.., 2..) if number < 5 => Err(limited()),
            _ => Ok(Duration::ZERO),
        });
    });
    let rig = rig.with_history(400, 2);
    assert_eq!(rig.stream(rig.question()).await.unwrap(), rig.truth(&rig.question()));
    rig.close().await;
}

#[test]
fn a_read_whose_prefetch_was_refused_does_not_block_those_who_join_it() {
    on_a_thread(|| async {
        let rig = with_refused_prefetch(400);
        let directives = CacheDirectives { no_store: true, ..CacheDirectives::default() };
        let mut first = rig.engine.ask(streamed(Question { directives, ..rig.question() })).await.unwrap();
        assert!(first.next().await.unwrap().is_some());
        let reading = async { while first.next().await.unwrap().is_some() {} };
        let others = async {
            tokio::time::sleep(SECOND / 2).await;
            for others in 1..4 {
                let top = Question { from: Some(NOW.minus(DAY / 10)), ..rig.question() };
                let answers =
                    futures_util::future::join_all((0..others).map(|_| rig.rows(top.clone()))).await;
                assert!(answers.iter().all(|rows| *rows == rig.truth(&top)));
            }
        };
        tokio::join!(reading, others);
        drop(first);
        rig.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_prefetch_was_refused_is_dated_by_its_first_successful_page() {
    let rig = with_refused_prefetch(400);
    let first = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let readings = {
        let Question { credential, agent, filters, .. } = rig.question();
        let scope = rig.engine.state.scopes.find(&Subject { credential, agent, filters }).unwrap();
        scope.lock().readings.clone()
    };
    assert!(
        readings.iter().all(|reading| matches!(reading.request(), RequestStage::Sent(_))),
        "{readings:?}"
    );
    drop(first);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_since_year_one_registers_a_bounded_number_of_reads() {
    let rig = Rig::new(settings(), 1);
    let from = Some(Timestamp::from_micros(-62_135_596_800_000_000));
    let mode = ResponseMode::Collected { deadline: Instant::now() + SECOND / 2 };
    let asking = rig.collect(Question { from, mode, ..rig.question() });
    let looking = async {
        tokio::time::sleep(SECOND / 4).await;
        let question = rig.question();
        let subject = crate::source::Subject {
            credential: question.credential,
            agent: question.agent,
            filters: question.filters,
        };
        rig.engine.state.scopes.find(&subject).unwrap().lock().readings.len()
    };
    let (answer, readings) = tokio::join!(asking, looking);
    assert!(matches!(answer, Err(AskError::NotReady { .. })));
    assert!(readings > 0 && readings <= 600, "{readings}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_more_windows_than_are_registered_at_once_is_complete() {
    let rig = Rig::new(settings(), 1).with_history(300, 2_400);
    for _ in 0..2 {
        assert_eq!(soon(rig.rows(rig.question())).await, rig.truth(&rig.question()));
        assert_eq!(soon(rig.stream(rig.question())).await.unwrap(), rig.truth(&rig.question()));
    }
    rig.close().await;
}
