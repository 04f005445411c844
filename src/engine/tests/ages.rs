//! How old an answer may be, and how many requests it costs to keep it that fresh.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::bent::{bent, on_a_thread, once_late, with_slow_pages};
use super::*;
use crate::source::Subject;

#[test]
fn rows_that_expire_during_a_slow_read_are_read_again_for_the_next_request() {
    on_a_thread(|| async {
        let slow = Arc::new(AtomicBool::new(true));
        let rig = with_slow_pages(EngineSettings { settling_ttl: 100 * SECOND, ..settings() }, &slow)
            .with_history(400, 2);
        let at = NOW.minus(DAY);
        let row = rig.script.world().insert(at, "in-progress");
        rig.script.world().change(row, "in-progress", NOW);
        let question = Question { to: Some(at.plus(10 * SECOND)), ..rig.question() };
        let first = rig.rows(question.clone());
        let second = async {
            tokio::time::sleep(5 * SECOND).await;
            slow.store(false, Ordering::Relaxed);
            rig.script.world().change(row, "completed", rig.clock.now());
            tokio::time::sleep(20 * SECOND).await;
            let narrow = Question { from: Some(at.minus(SECOND)), ..question.clone() };
            assert_eq!(rig.rows(narrow.clone()).await, rig.truth(&narrow));
        };
        tokio::join!(first, second);
        rig.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_quiet_history_is_renewed_once() {
    let rig = Rig::new(EngineSettings { settled_ttl: 1_000 * SECOND, ..settings() }, 1);
    (1..30).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * 10 * DAY), "completed");
    });
    rig.rows(rig.question()).await;
    pass(1_300 * SECOND).await;
    let mut requests = Vec::new();
    for _ in 0..12 {
        rig.requests();
        rig.rows(rig.question()).await;
        tokio::time::sleep(5 * SECOND).await;
        requests.push(rig.requests());
    }
    assert!(requests.iter().skip(8).all(|count| *count <= 1), "{requests:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn repeating_a_status_request_at_once_costs_nothing() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    rig.every_two_days(1..6, "in-progress");
    rig.rows(rig.status("in-progress")).await;
    pass(15 * SECOND).await;
    rig.rows(rig.status("in-progress")).await;
    rig.requests();
    rig.rows(rig.status("in-progress")).await;
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_holds_only_entries_that_a_segment_uses() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    // When it is read again on its own, it is merged with the rows above and below it.
    rig.script.world().insert(NOW.minus(5 * DAY), "in-progress");
    for _ in 0..20 {
        rig.rows(rig.question()).await;
        pass(15 * SECOND).await;
        rig.script.world().insert(rig.clock.now().minus(2 * SECOND), "completed");
    }
    let question = rig.question();
    let subject =
        Subject { credential: question.credential, agent: question.agent, filters: question.filters };
    let scope = rig.engine.state.scopes.find(&subject).unwrap();
    let unused = rig.store.0.lock().unwrap().keys().filter(|key| !scope.lock().coverage.uses(key)).count();
    assert_eq!(unused, 0, "of {}", rig.store.0.lock().unwrap().len());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn old_stuck_rows_of_one_week_are_seen_to_finish() {
    let rig = Rig::new(settings(), 3).with_history(3_000, 60);
    let stuck = rig.every_two_days(1..30, "in-progress");
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    for row in &stuck[10..14] {
        rig.script.world().change(*row, "completed", rig.clock.now());
    }
    for _ in 0..4 {
        rig.rows(rig.question()).await;
        pass(3 * SECOND).await;
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_read_that_lands_late_does_not_replace_newer_rows() {
    let (rig, late) = once_late(SECOND * 5 / 2);
    let rig = rig.with_history(100, 2);
    let row = rig.script.world().insert(NOW.minus(30 * SECOND), "in-progress");
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    late.store(true, Ordering::Relaxed);
    let first = rig.rows(rig.question());
    let then = async {
        tokio::time::sleep(SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        tokio::time::sleep(SECOND).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
        rig.requests();
        tokio::time::sleep(SECOND * 7 / 10).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
        assert_eq!(rig.requests(), 0);
    };
    tokio::join!(first, then);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn does_not_join_a_read_that_began_too_long_ago() {
    let (rig, late) = once_late(10 * SECOND);
    let rig = rig.with_history(100, 2);
    let row = rig.script.world().insert(NOW.minus(30 * SECOND), "in-progress");
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    late.store(true, Ordering::Relaxed);
    let first = rig.rows(rig.question());
    let then = async {
        tokio::time::sleep(SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    };
    tokio::join!(first, then);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_store_returns_current_rows_and_leaves_the_store_unchanged() {
    let rig = Rig::new(settings(), 3).with_history(3_000, 60);
    let stuck = rig.every_two_days(1..8, "in-progress");
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    rig.script.world().change(stuck[3], "completed", rig.clock.now());
    let kept = || rig.store.0.lock().unwrap().keys().copied().collect::<HashSet<_>>();
    let before = kept();
    let directives = CacheDirectives { no_store: true, ..CacheDirectives::default() };
    assert_eq!(rig.rows(Question { directives, ..rig.question() }).await, rig.truth(&rig.question()));
    assert_eq!(kept(), before);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reread_head_is_no_younger_than_its_end() {
    let rig = Rig::new(settings(), 1).with_history(60, 3);
    rig.script.world().insert(NOW.minus(SECOND), "completed");
    rig.rows(rig.question()).await;
    rig.script.world().insert(rig.clock.now().plus(SECOND / 100), "queued");
    pass(SECOND * 9 / 10).await;
    rig.evict();
    rig.rows(rig.question()).await;
    pass(SECOND * 9 / 10).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_read_does_not_revert_what_a_probe_found() {
    let reads = AtomicU32::new(0);
    let rig = bent(settings(), |bent| {
        bent.back = Box::new(move |subject, page, _| {
            let is_narrow = subject.filters.status.is_none() && page.span.width() < 60 * SECOND;
            let times = if is_narrow { 1 + reads.fetch_add(1, Ordering::Relaxed) } else { 0 };
            Ok(times * SECOND / 10)
        });
    })
    .with_history(400, 20);
    let at = NOW.minus(6 * DAY).minus(5 * SECOND);
    let stuck = {
        let mut world = rig.script.world();
        world.insert(NOW.minus(2 * DAY), "in-progress");
        world.insert(NOW.minus(10 * DAY), "in-progress");
        // A call that just finished is right above one that never did, so both are read directly.
        let ended = world.insert(at.plus(SECOND * 3), "in-progress");
        world.change(ended, "completed", NOW);
        world.insert(at, "in-progress")
    };
    rig.rows(rig.question()).await;
    pass(15 * SECOND).await;
    let narrow = Question { from: Some(at), to: Some(at.plus(4 * SECOND)), ..rig.question() };
    let all = async {
        tokio::time::sleep(SECOND * 3 / 100).await;
        rig.script.world().change(stuck, "in-progress", rig.clock.now());
        pass(SECOND / 100).await;
        let reload = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
        rig.rows(Question { directives: reload, ..rig.question() }).await
    };
    let (_, all) = tokio::join!(rig.rows(narrow), all);
    assert_eq!(all, rig.truth(&rig.question()));
    rig.close().await;
}
