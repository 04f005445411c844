//! Stale answers: when they are served, and what their verdicts say.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bent::{bent, ids};
use super::script::unavailable;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_not_called_fresh() {
    let rig =
        Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(300 * SECOND).await;
    let verdict = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!(verdict.report.stale, Some(StaleReason::UpstreamFailed));
    let freshness = verdict.freshness;
    assert!(freshness.lifetime < freshness.age, "{freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_stream_says_so_before_its_first_row() {
    let rig =
        Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(300 * SECOND).await;
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let answer = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    let verdict = answer.from_cache().cloned().unwrap();
    assert_eq!((verdict.count, verdict.report.stale), (1_000, Some(StaleReason::UpstreamFailed)));
    drop(answer);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_renewed_in_the_background_is_not_called_fresh() {
    let rig = Rig::new(EngineSettings { stale_while_revalidate: 600 * SECOND, ..settings() }, 1)
        .with_history(1_000, 20);
    rig.rows(rig.question()).await;
    pass(300 * SECOND).await;
    let freshness = rig.collect(rig.question()).await.unwrap().verdict.freshness;
    assert!(freshness.lifetime < freshness.age, "{freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_fresh_rows_gets_no_stale_ones() {
    let rig = Rig::new(EngineSettings { stale_while_revalidate: 600 * SECOND, ..settings() }, 1)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    for (max_age, min_fresh) in
        [(Some(Duration::ZERO), None), (Some(60 * SECOND), None), (None, Some(SECOND))]
    {
        pass(300 * SECOND).await;
        let directives = CacheDirectives { max_age, min_fresh, ..CacheDirectives::default() };
        let verdict = rig.collect(Question { directives, ..rig.question() }).await.unwrap().verdict;
        assert_eq!(verdict.report.stale, None, "{max_age:?} {min_fresh:?}");
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_left_for_later_requests_count_toward_the_age() {
    let rig = Rig::new(settings(), 1).with_history(6_000, 300);
    // Stuck with many different statuses, so that neither probes nor reads reach all of them.
    for n in 1..40 {
        rig.script.world().insert(NOW.minus(n * 7 * DAY), &format!("stuck-{n}"));
    }
    rig.rows(rig.question()).await;
    pass(600 * SECOND).await;
    let answer = rig.collect(rig.question()).await.unwrap();
    let now = rig.clock.now();
    let oldest = answer
        .slices
        .iter()
        .flat_map(|slice| slice.rows())
        .filter(|row| row.status.is_some_and(|status| status.as_str().starts_with("stuck")))
        .map(|row| now.since(row.read_at))
        .max()
        .unwrap();
    let freshness = answer.verdict.freshness;
    assert!(oldest < 10 * SECOND || freshness.lifetime < freshness.age, "{oldest:?} but {freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn max_stale_applies_to_rows_that_may_have_entered() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    let row = rig.script.world().insert(NOW.minus(3 * DAY), "in-progress");
    let directives = CacheDirectives { max_stale: Some(60 * SECOND), ..CacheDirectives::default() };
    let question = || Question { to: Some(NOW.minus(DAY)), directives, ..rig.status("queued") };
    assert_eq!(rig.rows(question()).await.len(), 0);
    pass(3_600 * SECOND).await;
    rig.script.world().change(row, "queued", rig.clock.now());
    pass(3_600 * SECOND).await;
    assert_eq!(rig.rows(question()).await, rig.truth(&question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn max_stale_applies_to_the_present_of_a_read_that_waited_for_its_turn() {
    let rig = Rig::new(settings(), 1).with_history(40, 6);
    let stale = |by: u32| {
        let directives = CacheDirectives { max_stale: Some(by * SECOND), ..CacheDirectives::default() };
        Question { from: Some(NOW.minus(6 * DAY)), directives, ..rig.question() }
    };
    rig.rows(stale(0)).await;
    pass(3 * SECOND).await;
    // The renewal behind this answer reads up to this present, and is sent only after the other seconds have
    // passed.
    rig.rows(stale(3)).await;
    rig.script.world().insert(rig.clock.now().plus(SECOND), "completed");
    pass(4 * SECOND).await;
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(rig.rows(stale(1)).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn min_fresh_reads_what_expires_too_soon() {
    let rig = Rig::new(EngineSettings { live_ttl: 10 * SECOND, settling_ttl: 10 * SECOND, ..settings() }, 1)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    pass(6 * SECOND).await;
    rig.requests();
    let directives = CacheDirectives { min_fresh: Some(8 * SECOND), ..CacheDirectives::default() };
    rig.rows(Question { directives, ..rig.question() }).await;
    assert!(rig.requests() > 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_left_its_status_while_upstream_fails_stays_in_the_stale_answer() {
    let fails = Arc::new(AtomicBool::new(false));
    let fails_too = Arc::clone(&fails);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.before = Box::new(move |subject, _, _| {
            if fails_too.load(Ordering::Relaxed) && subject.filters.status.is_none() {
                Err(unavailable())
            } else {
                Ok(Duration::ZERO)
            }
        });
    })
    .with_history(3_000, 60);
    let stuck = rig.every_two_days(1..20, "in-progress");
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    rig.script.world().change(stuck[5], "completed", rig.clock.now());
    fails.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let answer = rig.collect(rig.question()).await;
        assert!(answer.is_ok(), "{}", answer.unwrap_err());
        pass(SECOND).await;
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_does_not_wait_for_the_check_of_the_key() {
    let is_down: Arc<AtomicBool> = Arc::default();
    let down = Arc::clone(&is_down);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| bent.is_down = down)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    is_down.store(true, Ordering::Relaxed);
    pass(90 * SECOND).await;
    let began = Instant::now();
    let answer = rig.collect(rig.question()).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn as_of_is_right_for_an_answer_that_fell_back_to_stale_rows() {
    let fails = Arc::new(AtomicBool::new(false));
    let fails_too = Arc::clone(&fails);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.before = Box::new(move |_, page, _| {
            if fails_too.load(Ordering::Relaxed) && page.number > 1 {
                Err(unavailable())
            } else {
                Ok(Duration::ZERO)
            }
        });
    })
    .with_history(400, 20);
    // A call every quarter of a second in the ten seconds before the first request.
    (0..40).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * SECOND / 4), "completed");
    });
    let late = rig.script.world().insert(NOW.minus(9 * SECOND), "completed");
    rig.script.world().rows[late].shown_at = NOW.plus(SECOND / 2);
    rig.rows(rig.question()).await;
    pass(15 * SECOND).await;
    let now = rig.clock.now();
    (0..30).for_each(|n| {
        rig.script.world().insert(now.minus(n * SECOND / 4), "completed");
    });
    fails.store(true, Ordering::Relaxed);
    let answer = rig.collect(rig.question()).await.unwrap();
    let given = ids(&answer.slices.iter().flat_map(rows).collect::<Vec<_>>());
    let as_of = answer.verdict.as_of;
    let world = rig.script.world();
    let lost = world.rows.iter().filter(|row| row.created_at <= as_of && !given.contains(&row.id));
    let lost: Vec<_> = lost.map(|row| &row.id).collect();
    assert!(lost.is_empty(), "{lost:?} before {as_of}");
}

#[tokio::test(start_paused = true)]
async fn simultaneous_stale_answers_share_one_renewal() {
    let rig = Rig::new(EngineSettings { stale_while_revalidate: 600 * SECOND, ..settings() }, 1)
        .with_history(1_000, 20);
    let stuck = rig.every_two_days(1..9, "in-progress");
    rig.rows(rig.question()).await;
    let mut requests = Vec::new();
    for callers in [1, 50] {
        pass(30 * SECOND).await;
        rig.script.world().change(stuck[callers % 7], "completed", rig.clock.now());
        rig.requests();
        futures_util::future::join_all((0..callers).map(|_| rig.rows(rig.question()))).await;
        let tasks = rig.shutdown.running();
        assert!(tasks <= 12, "{tasks} for {callers}");
        tokio::time::sleep(10 * SECOND).await;
        requests.push(rig.requests());
    }
    assert!(requests[1] <= requests[0] + 2, "{requests:?}");
    rig.close().await;
}
