//! The verdicts of answers, and the effects of `Cache-Control`.

use super::script::unavailable;
use super::*;

#[tokio::test(start_paused = true)]
async fn says_up_to_when_it_is_complete() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    let open = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!(open.as_of, NOW.minus(10 * SECOND));
    let to = NOW.minus(DAY);
    let past = rig.collect(Question { to: Some(to), ..rig.question() }).await.unwrap().verdict;
    assert_eq!(past.as_of, to);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn known_rows_give_the_same_digest_before_they_are_taken() {
    let rig = Rig::new(settings(), 1).with_history(300, 20);
    let read = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!((read.report.miss_rows, read.report.hit_rows), (300, 0));
    let answer = rig.engine.ask(rig.question()).await.unwrap();
    let known = answer.from_cache().unwrap().clone();
    assert_eq!((known.count, known.digest), (300, read.digest));
    assert_eq!((known.report.miss_rows, known.report.hit_rows), (0, 300));
    rig.script.world().change(0, "completed", NOW);
    pass(3 * SECOND).await;
    assert_ne!(rig.collect(rig.question()).await.unwrap().verdict.digest, read.digest);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_the_future_is_empty_and_complete() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    let question = Question { from: Some(NOW.plus(DAY)), ..rig.question() };
    let answer = rig.collect(question).await.unwrap();
    assert!(answer.slices.is_empty() && answer.verdict.is_complete());
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_reads_nothing() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let question = Question { directives, ..rig.question() };
    assert!(matches!(rig.collect(question.clone()).await, Err(AskError::NotCached)));
    rig.rows(rig.question()).await;
    assert_eq!(rig.rows(question.clone()).await.len(), 100);
    pass(5 * SECOND).await;
    rig.requests();
    assert!(matches!(rig.collect(question.clone()).await, Err(AskError::NotCached)));
    let directives = CacheDirectives { max_stale: Some(60 * SECOND), ..directives };
    assert_eq!(rig.rows(Question { directives, ..question }).await.len(), 100);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_store_keeps_nothing_new() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    let directives = CacheDirectives { no_store: true, ..CacheDirectives::default() };
    assert_eq!(rig.rows(Question { directives, ..rig.question() }).await.len(), 100);
    assert!(rig.store.0.lock().unwrap().is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn max_age_zero_reads_live_rows_but_not_settled_ones() {
    let rig = Rig::new(EngineSettings { live_ttl: 60 * SECOND, settling_ttl: 60 * SECOND, ..settings() }, 1)
        .with_history(2_000, 40);
    let live = rig.script.world().insert(NOW.minus(20 * SECOND), "in-progress");
    rig.rows(rig.question()).await;
    rig.requests();
    pass(SECOND).await;
    rig.script.world().change(live, "completed", rig.clock.now());
    let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
    let question = Question { directives, ..rig.question() };
    assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    let requests = rig.requests();
    assert!((1..=3).contains(&requests), "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_returned_at_once_and_renewed_in_the_background() {
    let rig = Rig::new(EngineSettings { stale_while_revalidate: 60 * SECOND, ..settings() }, 1)
        .with_history(100, 2);
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    rig.script.world().insert(rig.clock.now().minus(SECOND), "completed");
    let stale = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!((stale.count, stale.report.stale), (100, Some(StaleReason::Revalidating)));
    assert!(stale.freshness.age >= 20 * SECOND);
    assert!(stale.as_of <= NOW);
    pass(SECOND / 2).await;
    tokio::time::sleep(SECOND / 4).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 101);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_served_while_upstream_fails() {
    let rig = Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(30 * SECOND).await;
    for _ in 0..2 {
        let stale = rig.collect(rig.question()).await.unwrap().verdict;
        assert_eq!((stale.count, stale.report.stale), (100, Some(StaleReason::UpstreamFailed)));
        assert!(stale.as_of < NOW);
    }
    let wider = Question { to: Some(NOW.minus(DAY)), ..rig.question() };
    assert_eq!(rig.rows(wider.clone()).await, rig.truth(&wider));
    pass(700 * SECOND).await;
    assert!(rig.collect(rig.question()).await.is_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_answer_names_the_missing_part_and_has_the_rest() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    rig.script.world().refuse = Some(Box::new(|number| (number == 2).then(unavailable)));
    let lenient = Question { tolerance: Tolerance::Lenient, ..rig.question() };
    let answer = rig.collect(lenient.clone()).await.unwrap();
    assert!(!answer.verdict.is_complete());
    let missing = answer.verdict.missing[0].span;
    let there: Vec<_> = answer.slices.iter().flat_map(rows).collect();
    let whole = rig.truth(&lenient);
    let expected = rig.script.world().rows.iter().filter(|row| !missing.contains(row.created_at)).count();
    assert_eq!(there.len(), expected);
    assert!(there.iter().all(|row| whole.contains(row)));
    rig.script.world().refuse = None;
    rig.requests();
    assert_eq!(rig.rows(rig.question()).await, whole);
    assert!(rig.requests() <= 12);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_ends_with_an_error_after_its_rows() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    rig.script.world().refuse = Some(Box::new(|number| (number > 8).then(unavailable)));
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let mut answer = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    let mut given = Vec::new();
    let error = loop {
        match answer.next().await {
            Ok(Some(slice)) => given.extend(rows(&slice)),
            Ok(None) => panic!("ended cleanly after {} rows", given.len()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AskError::Source(_)), "{error}");
    assert!(!given.is_empty());
    assert_eq!(given, rig.truth(&rig.question())[..given.len()]);
    assert!(answer.next().await.unwrap().is_none());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_the_deadline_continues_where_the_first_request_stopped() {
    let rig = Rig::new(settings(), 1).with_history(3_000, 30);
    let mode = ResponseMode::Collected { deadline: Instant::now() + Duration::from_millis(90) };
    let error = rig.collect(Question { mode, ..rig.question() }).await.unwrap_err();
    let AskError::NotReady { pages_read, pages_planned, .. } = error else { panic!("{error}") };
    assert!(pages_read > 0 && pages_read < pages_planned, "{pages_read} of {pages_planned}");
    let first = rig.requests();
    pass(SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 3_000);
    let second = rig.requests();
    assert!(first + second <= 60 + 5 * 4, "{first} and {second}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_when_the_budget_has_room_for_the_missing_pages() {
    for (a_request_takes, at_least, at_most) in [(0, 1, 1), (200, 5, 12), (20_000, 60, 60)] {
        let rig = Rig::new(settings(), 1).with_history(3_000, 30);
        rig.script.world().a_request_takes = Duration::from_millis(a_request_takes);
        let mode = ResponseMode::Collected { deadline: Instant::now() + Duration::from_millis(90) };
        let error = rig.collect(Question { mode, ..rig.question() }).await.unwrap_err();
        let AskError::NotReady { retry_after, pages_read, pages_planned, .. } = error else {
            panic!("{error}")
        };
        let missing = (pages_planned - pages_read) as u32;
        let room = Duration::from_millis(a_request_takes) * missing;
        assert_eq!(retry_after, room.clamp(SECOND, 60 * SECOND));
        assert!((at_least..=at_most).contains(&retry_after.as_secs()), "{retry_after:?} for {missing}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lenient_answer_leaves_out_what_is_not_read_by_the_deadline() {
    let rig = Rig::new(settings(), 1).with_history(3_000, 30);
    let mode = ResponseMode::Collected { deadline: Instant::now() + Duration::from_millis(90) };
    let answer =
        rig.collect(Question { mode, tolerance: Tolerance::Lenient, ..rig.question() }).await.unwrap();
    let [missing] = answer.verdict.missing.as_slice() else { panic!("{:?}", answer.verdict) };
    assert!(matches!(missing.error, AskError::NotReady { .. }));
    let given: Vec<_> = answer.slices.iter().flat_map(rows).collect();
    assert_eq!(given, rig.truth(&rig.question())[..given.len()]);
    assert!(!given.is_empty() && given.len() < 3_000);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_allowed_is_refused() {
    let rig = Rig::new(settings(), 1).with_history(300, 3);
    let answer = rig.engine.ask(rig.question()).await.unwrap();
    assert!(matches!(answer.collect(1_000).await, Err(AskError::TooLarge { limit: 1_000 })));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn from_is_required_if_the_start_of_history_is_unknown() {
    let rig = Rig::new(settings(), 1);
    assert!(matches!(rig.collect(rig.question()).await, Err(AskError::NoHistoryStart)));
    let question = Question { from: Some(NOW.minus(DAY)), ..rig.question() };
    assert_eq!(rig.rows(question).await.len(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_nothing_left_to_read_knows_its_verdict_before_its_first_row() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    pass(5 * SECOND).await;
    rig.script.world().insert(rig.clock.now(), "completed");
    pass(SECOND).await;
    rig.requests();
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let streamed = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    assert!(rig.requests() > 0, "the head is read");
    let verdict = streamed.from_cache().cloned().unwrap();
    let taken = streamed.collect(u64::MAX).await.unwrap().verdict;
    assert_eq!((verdict.count, verdict.digest), (taken.count, taken.digest));
    let collected = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!((verdict.count, verdict.digest), (1_001, collected.digest));
    rig.close().await;
}
