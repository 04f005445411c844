//! Requests for more than one status.

use super::*;

#[tokio::test(start_paused = true)]
async fn rows_that_move_between_statuses_are_neither_lost_nor_repeated() {
    let rig = Rig::new(settings(), 3).with_history(300, 20);
    let moving = rig.script.world().insert(NOW.minus(DAY), "in-progress");
    rig.script.world().insert(NOW.minus(2 * DAY), "failed");
    let question = || rig.statuses(&["in-progress", "no-answer", "failed"]);
    for status in ["in-progress", "no-answer", "failed", "completed", "in-progress"] {
        let now = rig.clock.now();
        rig.script.world().change(moving, status, now);
        pass(200 * SECOND).await;
        assert_eq!(rig.rows(question()).await, rig.truth(&question()), "{status}");
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn several_statuses_are_picked_from_unfiltered_rows() {
    let rig = Rig::new(settings(), 3).with_history(300, 20);
    rig.rows(rig.statuses(&["busy", "failed"])).await;
    assert!(rig.script.world().asked.iter().all(|(filters, _)| filters.status.is_none()));
    rig.requests();
    assert_eq!(rig.rows(rig.statuses(&["completed", "failed"])).await.len(), 300);
    assert_eq!(rig.rows(rig.question()).await.len(), 300);
    assert_eq!(rig.requests(), 0, "all of them share what was read");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn several_statuses_combine_with_another_changing_filter() {
    let rig = Rig::new(settings(), 3).with_history(120, 20);
    for (row, status) in [(3, "failed"), (50, "busy"), (70, "queued")] {
        let mut world = rig.script.world();
        world.change(row, status, NOW.minus(DAY));
        world.rows[row].voice_mail = true;
    }
    let filters = Filters { answered_by_voice_mail: Some(true), ..Filters::default() };
    let question = Question { filters, ..rig.statuses(&["busy", "failed"]) };
    let rows = rig.rows(question.clone()).await;
    assert_eq!(rows, rig.truth(&question));
    assert_eq!(rows.len(), 2);
    rig.close().await;
}
