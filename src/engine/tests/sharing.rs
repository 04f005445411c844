//! One read for many callers.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::bent::{bent, soon};
use super::script::words;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_cost_the_requests_of_one() {
    let alone = Rig::new(settings(), 1).with_history(700, 20);
    alone.rows(alone.question()).await;
    let one = alone.requests();
    alone.close().await;
    let rig = Rig::new(settings(), 1).with_history(700, 20);
    let answers = join_all((0..100).map(|_| rig.rows(rig.question()))).await;
    assert!(answers.iter().all(|rows| rows.len() == 700));
    assert_eq!(rig.requests(), one);
    assert_eq!(rig.script.world().checks, 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_leaving_changes_nothing_for_the_others() {
    let rig = Rig::new(settings(), 1).with_history(700, 20);
    let first = rig.rows(rig.question());
    let second = rig.rows(rig.question());
    let first = tokio::time::timeout(Duration::from_millis(30), first);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err());
    assert_eq!(second.len(), 700);
    let requests = rig.requests();
    assert!(requests <= 14 + 6, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_read_stops_and_keeps_what_it_proved() {
    let rig = Rig::new(settings(), 1).with_history(3_000, 6);
    let left = tokio::time::timeout(Duration::from_millis(90), rig.rows(rig.question())).await;
    assert!(left.is_err());
    pass(10 * SECOND).await;
    let before = rig.requests();
    assert!(before < 40, "{before}");
    assert_eq!(rig.rows(rig.question()).await.len(), 3_000);
    let after = rig.requests();
    assert!(after < 60, "{after} after {before}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn never_more_in_flight_than_the_fan_out() {
    let rig = Rig::new(settings(), 1).with_history(5_000, 100);
    rig.rows(rig.question()).await;
    assert_eq!(rig.script.world().most_in_flight, 8);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_is_read_only_a_few_pages_ahead() {
    let rig = Rig::new(settings(), 1).with_history(10_000, 100);
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let mut answer = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    pass(10 * SECOND).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        pass(SECOND).await;
    }
    let requests = rig.requests();
    assert!(requests <= 40, "{requests}");
    let mut count = 0;
    while let Some(slice) = answer.next().await.unwrap() {
        count += slice.len();
    }
    assert_eq!(count, 10_000);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_all_waiters_and_is_not_stored() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.fail_upstream();
    let answers = join_all((0..5).map(|_| rig.collect(rig.question()))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(AskError::Source(_)))));
    rig.script.world().refuse = None;
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_in_progress_is_not_stored_after_a_purge() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.script.held.store(true, Ordering::Relaxed);
    let asking = rig.rows(rig.question());
    let purging = async {
        tokio::time::sleep(SECOND / 5).await;
        rig.engine.forget(rig.question().agent).await.unwrap();
        rig.script.held.store(false, Ordering::Relaxed);
    };
    let (rows, ()) = tokio::join!(asking, purging);
    assert_eq!(rows.len(), 100, "the waiting caller is answered");
    assert!(rig.store.0.lock().unwrap().is_empty());
    rig.requests();
    rig.rows(rig.question()).await;
    assert!(rig.requests() > 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_reads_nothing_after_a_minute() {
    let settings = EngineSettings { live_ttl: 600 * SECOND, settling_ttl: 600 * SECOND, ..settings() };
    let rig = Rig::new(settings, 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.script.world().agent_refused = Some(403);
    pass(30 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    pass(40 * SECOND).await;
    let error = rig.collect(rig.question()).await.unwrap_err();
    assert!(matches!(error, AskError::Source(crate::source::SourceError::Denied(_))), "{error}");
    assert!(rig.store.0.lock().unwrap().is_empty(), "the rows of the key are dropped");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_stray_refusal_of_a_page_drops_nothing() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    pass(5 * SECOND).await;
    let mut is_first = true;
    rig.script.world().refuse = Some(Box::new(move |_| {
        std::mem::take(&mut is_first).then(|| crate::source::SourceError::Denied(words(403)))
    }));
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    assert!(!rig.store.0.lock().unwrap().is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn another_key_gets_none_of_the_stored_rows() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.script.world().agent_refused = Some(403);
    let credential = Credential::new(CredentialId::new([2; 16]), "other".to_owned().into());
    let error = rig.collect(Question { credential, ..rig.question() }).await.unwrap_err();
    assert!(matches!(error, AskError::Source(crate::source::SourceError::Denied(_))));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_while_a_read_waits_for_its_turn_share_it() {
    let start = Instant::now();
    let full = start + 60 * SECOND;
    // The budget has no room for a minute.
    let rig = bent(EngineSettings { live_ttl: 10 * SECOND, ..settings() }, |bent| {
        bent.before = Box::new(move |_, _, _| Ok(full.saturating_duration_since(Instant::now())));
    })
    .with_history(1_000, 20);
    let asking = (0..25u32).map(|n| {
        let rig = &rig;
        async move {
            tokio::time::sleep(n * 2 * SECOND).await;
            if n == 10 {
                rig.script.world().insert(rig.clock.now(), "completed");
            }
            let mode = ResponseMode::Collected { deadline: Instant::now() + 90 * SECOND };
            let given = rig.rows(Question { mode, ..rig.question() }).await;
            (n, given)
        }
    });
    let answers = soon(join_all(asking)).await;
    for (n, given) in answers {
        assert!(
            given.len() == 1_001 || (given.len() == 1_000 && n < 15),
            "{} rows for question {n}",
            given.len()
        );
    }
    let requests = rig.requests();
    assert!(requests <= 20 + 2 * 3 + 5, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_live_row_of_a_joined_read_that_was_sent_too_long_ago_is_read_again() {
    let settings = EngineSettings { settling_ttl: 5 * SECOND, ..settings() };
    let rig = bent(settings, |bent| bent.back = Box::new(|_, _, _| Ok(3 * SECOND))).with_history(20, 13);
    let row = rig.script.world().insert(NOW.minus(2 * DAY), "in-progress");
    let old = |from: u32| Question {
        from: Some(NOW.minus(from * DAY)),
        to: Some(NOW.minus((from - 1) * DAY)),
        ..rig.question()
    };
    rig.rows(old(9)).await;
    rig.script.world().change(row, "in-progress", rig.clock.now());
    let later = async {
        tokio::time::sleep(SECOND / 2).await;
        rig.script.world().change(row, "in-progress", rig.clock.now());
        tokio::time::sleep(SECOND * 3 / 2).await;
        rig.rows(old(2)).await
    };
    let (_, given) = tokio::join!(rig.rows(old(2)), later);
    assert_eq!(given, rig.truth(&old(2)));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn polls_within_a_second_share_one_refresh() {
    let rig = bent(settings(), |bent| bent.back = Box::new(|_, _, _| Ok(SECOND / 5))).with_history(100, 3);
    rig.rows(rig.question()).await;
    rig.requests();
    let directives = CacheDirectives { max_age: Some(SECOND), ..CacheDirectives::default() };
    for _ in 0..3 {
        pass(2 * SECOND).await;
        soon(join_all((0..5).map(|_| rig.rows(Question { directives, ..rig.question() })))).await;
        assert_eq!(rig.requests(), 1);
        for _ in 0..5 {
            pass(SECOND / 10).await;
            rig.rows(Question { directives, ..rig.question() }).await;
        }
        assert_eq!(rig.requests(), 0);
    }
    rig.close().await;
}
