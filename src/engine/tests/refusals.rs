//! The effects of upstream's refusals.

use super::bent::bent;
use super::script::words;
use super::*;
use crate::source::SourceError;

/// An upstream that refuses to filter by `prepared`.
fn without_prepared() -> Rig {
    bent(settings(), |bent| {
        bent.before = Box::new(|subject, _, _| {
            match subject.filters.status.as_ref().map(|status| status.as_str() == "prepared") {
                Some(true) => Err(SourceError::Refused(words(422))),
                Some(false) | None => Ok(Duration::ZERO),
            }
        });
    })
    .with_history(3_000, 60)
}

#[tokio::test(start_paused = true)]
async fn a_status_that_upstream_refuses_as_a_filter_fails_no_request() {
    let rig = without_prepared();
    rig.every_two_days(1..8, "prepared");
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    let again = rig.collect(rig.question()).await;
    assert!(again.is_ok(), "{}", again.unwrap_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_that_arrives_after_its_caller_left_expires() {
    let settings = EngineSettings { live_ttl: 6_000 * SECOND, settling_ttl: 6_000 * SECOND, ..settings() };
    let rig = Rig::new(settings, 1).with_history(100, 2);
    let left = tokio::time::timeout(Duration::from_millis(5), rig.collect(rig.question())).await;
    assert!(left.is_err());
    tokio::time::sleep(SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    rig.script.world().agent_refused = Some(403);
    pass(4_000 * SECOND).await;
    let answer = rig.collect(rig.question()).await;
    assert!(answer.is_err(), "{} rows for a key refused an hour ago", answer.unwrap().verdict.count);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_joined_check_outlives_the_first_callers_deadline() {
    let rig = bent(settings(), |bent| bent.check = SECOND).with_history(100, 2);
    let mode = ResponseMode::Collected { deadline: Instant::now() + SECOND / 2 };
    let hasty = rig.collect(Question { mode, ..rig.question() });
    let (hasty, patient) = tokio::join!(hasty, rig.collect(rig.question()));
    assert!(hasty.is_err());
    assert!(patient.is_ok(), "{}", patient.unwrap_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_in_a_status_that_upstream_refuses_as_a_filter_are_reread_in_time() {
    let rig = without_prepared();
    let prepared = rig.every_two_days(1..8, "prepared");
    rig.rows(rig.question()).await;
    for row in prepared {
        pass(3 * SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        pass(3 * SECOND).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_refused_probe_are_read_directly() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    rig.every_two_days(1..4, "in-progress");
    rig.rows(rig.question()).await;
    pass(15 * SECOND).await;
    rig.script.world().rows.truncate(400);
    // The key is valid nevertheless.
    let mut is_first = true;
    rig.script.world().refuse =
        Some(Box::new(move |_| std::mem::take(&mut is_first).then(|| SourceError::Denied(words(403)))));
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}
