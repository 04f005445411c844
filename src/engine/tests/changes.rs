//! The removal of most rows of an agent is reported only once upstream has confirmed it.

use super::*;

fn followed(question: &Question) -> FollowedQuestion {
    let agents = FollowedAgents::Some(vec![question.agent]);
    let Question { credential, filters, any_status, from, to, .. } = question;
    FollowedQuestion::new(credential, agents, (filters, any_status.as_ref()), (*from, *to))
}

/// How a response to a client with a cursor ends, with or without upstream's confirmation.
async fn respond(
    rig: &Rig,
    question: &Question,
    since: Option<Cursor>,
    confirmation: Confirmation,
) -> Finished {
    let by = (question.caller.id, question.credential.id());
    let mut comparison = rig.engine.compare(followed(question), since, by, Logging::Allowed);
    comparison.section(question.agent);
    let Collected { slices, verdict, .. } = rig.collect(question.clone()).await.unwrap();
    for slice in slices {
        comparison.take(question.agent, slice).unwrap();
    }
    rig.engine.finish(&mut comparison, &verdict, confirmation)
}

fn cursor(finished: Finished) -> Cursor {
    match finished {
        Finished::Complete(outcome) => outcome.cursor.unwrap(),
        other @ (Finished::Doubtful(_) | Finished::Gone) => panic!("{other:?}"),
    }
}

fn vanished(finished: Finished) -> Vanished {
    match finished {
        Finished::Doubtful(mut agents) => agents.remove(0),
        other @ (Finished::Complete(_) | Finished::Gone) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_one_read_missed_are_requested_again_and_return() {
    for statuses in [&[][..], &["completed"], &["completed", "failed"]] {
        let rig = Rig::new(settings(), 1).with_history(200, 20);
        rig.script.world().born = Some(NOW.minus(21 * DAY));
        let question = if statuses.is_empty() { rig.question() } else { rig.statuses(statuses) };
        let first = cursor(respond(&rig, &question, None, Confirmation::Needed).await);
        rig.evict();
        rig.script.world().pager = Some(Box::new(|_, _, _| crate::domain::Page {
            rows: Vec::new(),
            has_more: false,
            has_flag: true,
            total: Some(0),
        }));
        let missing = vanished(respond(&rig, &question, Some(first), Confirmation::Needed).await);
        assert_eq!(missing.rows.len(), 200);
        rig.script.world().pager = None;
        rig.requests();
        let refused = rig.engine.confirm_gone(&question, &missing).await;
        assert!(matches!(refused, Err(AskError::Inconsistent { .. })), "{refused:?}");
        assert_eq!(rig.requests(), 1);
        let again = respond(&rig, &question, Some(first), Confirmation::Needed).await;
        let Finished::Complete(outcome) = again else { panic!("{again:?}") };
        assert_eq!(
            (outcome.removed.len(), outcome.cursor.unwrap()),
            (0, first),
            "the old cursor is still valid"
        );
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn confirming_deleted_rows_costs_one_request() {
    let rig = Rig::new(settings(), 1).with_history(200, 20);
    rig.script.world().born = Some(NOW.minus(21 * DAY));
    let question = rig.question();
    let first = cursor(respond(&rig, &question, None, Confirmation::Needed).await);
    rig.evict();
    rig.script.world().rows.truncate(20);
    let missing = vanished(respond(&rig, &question, Some(first), Confirmation::Needed).await);
    rig.requests();
    rig.engine.confirm_gone(&question, &missing).await.unwrap();
    assert_eq!(rig.requests(), 1);
    let finished = respond(&rig, &question, Some(first), Confirmation::Given).await;
    let Finished::Complete(outcome) = finished else { panic!("{finished:?}") };
    assert_eq!(outcome.removed.len(), 180);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_confirms_no_deletion() {
    let rig = Rig::new(settings(), 1).with_history(200, 20);
    rig.script.world().born = Some(NOW.minus(21 * DAY));
    let question = rig.question();
    let first = cursor(respond(&rig, &question, None, Confirmation::Needed).await);
    rig.evict();
    rig.script.world().rows.clear();
    let missing = vanished(respond(&rig, &question, Some(first), Confirmation::Needed).await);
    rig.fail_upstream();
    assert!(rig.engine.confirm_gone(&question, &missing).await.is_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn change_logs_are_dropped_with_their_agents_rows() {
    let rig = Rig::new(settings(), 1).with_history(100, 5);
    let question = rig.question();
    cursor(respond(&rig, &question, None, Confirmation::Needed).await);
    assert_eq!(rig.engine.change_logs().logs, 1);
    rig.engine.forget(question.agent).await.unwrap();
    assert_eq!(rig.engine.change_logs(), ChangeLogReadings::default());
    cursor(respond(&rig, &question, None, Confirmation::Needed).await);
    rig.script.world().agent_refused = Some(403);
    pass(61 * SECOND).await;
    let refused = rig.collect(rig.question()).await;
    assert!(matches!(refused, Err(AskError::Source(_))), "{refused:?}");
    assert_eq!(
        rig.engine.change_logs(),
        ChangeLogReadings::default(),
        "also for a key that upstream refuses"
    );
    rig.close().await;
}
