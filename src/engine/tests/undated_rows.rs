//! Rows without a date: rows read with them are used only as a whole, and for the live time to live.

use super::bent::ids;
use super::*;

/// Inserts a row without a date.
fn undated(rig: &Rig, created_at: Timestamp) -> usize {
    let mut world = rig.script.world();
    let row = world.insert(created_at, "completed");
    world.rows[row].is_dated = false;
    row
}

#[tokio::test(start_paused = true)]
async fn an_undated_row_below_one_newer_than_the_present_is_returned() {
    let rig = Rig::new(settings(), 1).with_history(20, 13);
    undated(&rig, rig.clock.now());
    let before = ids(&rig.truth(&rig.question()));
    // Upstream is asked for whole seconds, so the response includes this row.
    let now = rig.clock.now();
    rig.script.world().before_page = Some(Box::new(move |world, _| {
        if world.rows.len() == 21 {
            world.insert(now.plus(SECOND / 1_000), "completed");
        }
    }));
    assert!(before.is_subset(&ids(&rig.rows(rig.question()).await)));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_evicted_undated_row_is_read_again_wherever_it_may_be() {
    let rig = Rig::new(settings(), 1).with_history(20, 13);
    undated(&rig, rig.clock.now());
    pass(15 * SECOND).await;
    // The undated row is read below this one and takes its place, which was requested separately.
    rig.script.world().insert(rig.clock.now(), "completed");
    let all = ids(&rig.rows(rig.question()).await);
    assert_eq!(all.len(), 22);
    rig.store.0.lock().unwrap().retain(|_, entry| !entry.has_undated());
    assert_eq!(ids(&rig.rows(rig.question()).await), all);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_range_has_the_same_rows_whatever_was_read_before() {
    for hours in [1, 30, 100, 170, 400] {
        let rig = Rig::new(EngineSettings { live_ttl: 60 * SECOND, ..settings() }, 1).with_history(400, 20);
        let at = NOW.minus(hours * 3_600 * SECOND);
        undated(&rig, at);
        let ranges = [(hours + 1, Some(hours)), (hours + 90, Some(hours)), (hours, None), (hours, Some(0))];
        let range = |(from, to): (u32, Option<u32>)| Question {
            from: Some(NOW.minus(from * 3_600 * SECOND)),
            to: to.map(|to| NOW.minus(to * 3_600 * SECOND)),
            ..rig.question()
        };
        let whole = ids(&rig.rows(rig.question()).await);
        assert_eq!(whole.len(), 401, "{hours}");
        for asked in ranges {
            let after_all = ids(&rig.rows(range(asked)).await);
            rig.engine.forget(rig.question().agent).await.unwrap();
            let first = ids(&rig.rows(range(asked)).await);
            assert_eq!(
                (&after_all, &first),
                (&ids(&rig.truth(&range(asked))), &after_all),
                "{hours} {asked:?}"
            );
            assert_eq!(ids(&rig.rows(rig.question()).await), whole, "{hours}, after {asked:?}");
        }
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_read_with_an_undated_one_serve_only_requests_that_cover_them_within_the_live_ttl() {
    let rig = Rig::new(settings(), 1).with_history(20, 5);
    undated(&rig, NOW.minus(2 * DAY));
    rig.rows(rig.question()).await;
    rig.requests();
    assert_eq!(rig.rows(rig.question()).await.len(), 21);
    assert_eq!(rig.requests(), 0);
    let part = Question { from: Some(NOW.minus(DAY)), ..rig.question() };
    rig.rows(part).await;
    assert_eq!(rig.requests(), 1, "the request does not cover the undated row");
    assert_eq!(rig.rows(rig.question()).await.len(), 21);
    pass(2 * SECOND).await;
    rig.requests();
    assert_eq!(rig.rows(rig.question()).await.len(), 21);
    assert!(rig.requests() >= 1, "its time to live has passed");
    rig.close().await;
}
