//! What upstream refuses, and what follows from it.

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
async fn a_status_that_upstream_takes_for_no_filter_fails_no_question() {
    let rig = without_prepared();
    rig.every_two_days(1..8, "prepared");
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    let again = rig.collect(rig.question()).await;
    assert!(again.is_ok(), "{}", again.unwrap_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_that_came_when_its_asker_had_left_does_not_hold_for_ever() {
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
async fn a_stray_refusal_for_one_agent_empties_nothing_of_another() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.script.world().agent_refused = Some(403);
    let other = Question { agent: AgentId::new(Uuid::from_u128(8)), ..rig.question() };
    assert!(rig.collect(other).await.is_err());
    rig.script.world().agent_refused = None;
    assert!(!rig.store.0.lock().unwrap().is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_joined_by_a_patient_caller_does_not_fail_with_the_first_ones_deadline() {
    let rig = bent(settings(), |bent| bent.check = SECOND).with_history(100, 2);
    let mode = ResponseMode::Collected { deadline: Instant::now() + SECOND / 2 };
    let hasty = rig.collect(Question { mode, ..rig.question() });
    let (hasty, patient) = tokio::join!(hasty, rig.collect(rig.question()));
    assert!(hasty.is_err());
    assert!(patient.is_ok(), "{}", patient.unwrap_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_in_a_status_that_upstream_takes_for_no_filter_do_not_age_unread() {
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
async fn what_a_refused_probe_would_have_told_is_read_where_it_is() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    rig.every_two_days(1..4, "in-progress");
    rig.rows(rig.question()).await;
    pass(15 * SECOND).await;
    rig.script.world().rows.truncate(400);
    // The key is good all the same.
    let mut is_first = true;
    rig.script.world().refuse =
        Some(Box::new(move |_| std::mem::take(&mut is_first).then(|| SourceError::Denied(words(403)))));
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}
