//! How many requests a refresh costs, and that it sees every change.

use super::*;

async fn asked_once() -> Rig {
    let rig = Rig::new(settings(), 3).with_history(6_000, 62);
    // Three calls are in progress.
    for ago in [5, 40, 70] {
        rig.script.world().insert(NOW.minus(ago * SECOND), "in-progress");
    }
    assert_eq!(rig.rows(rig.question()).await.len(), 6_003);
    let requests = rig.requests();
    assert!(requests <= 120 + 9 * 2 + 6, "{requests}");
    rig
}

#[tokio::test(start_paused = true)]
async fn repeating_a_request_at_once_costs_nothing() {
    let rig = asked_once().await;
    assert_eq!(rig.rows(rig.question()).await.len(), 6_003);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_costs_what_changed() {
    let rig = asked_once().await;
    let step = |rig: &Rig, most: usize| {
        let requests = rig.requests();
        assert!(requests <= most, "{requests} requests, not {most}");
    };
    let live: Vec<usize> = (0..3).map(|n| 6_000 + n).collect();
    pass(20 * SECOND).await;
    let new: Vec<usize> = (0..30)
        .map(|n| rig.script.world().insert(rig.clock.now().minus(n * SECOND / 2), "in-progress"))
        .collect();
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    step(&rig, 3);
    pass(15 * SECOND).await;
    for row in live.iter().chain(&new) {
        rig.script.world().change(*row, "completed", rig.clock.now());
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    step(&rig, 3);
    pass(60 * SECOND).await;
    for n in 0..120 {
        rig.script.world().insert(rig.clock.now().minus(n * SECOND / 4), "completed");
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    step(&rig, 6);
    for days in [1, 7, 30, 62] {
        let question = Question { from: Some(rig.clock.now().minus(days * DAY)), ..rig.question() };
        assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
        step(&rig, 3);
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_longer_range_costs_only_what_is_missing() {
    let rig = Rig::new(settings(), 3).with_history(6_000, 62);
    let ten = Question { from: Some(NOW.minus(10 * DAY)), ..rig.question() };
    assert_eq!(rig.rows(ten.clone()).await, rig.truth(&ten));
    let first = rig.requests();
    assert_eq!(rig.rows(rig.question()).await.len(), 6_000);
    let second = rig.requests();
    assert!(first + second <= 120 + 10 * 2 + 6, "{first} and {second}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn old_stuck_rows_are_all_seen_to_finish_for_a_few_requests() {
    for finished in [vec![3, 11, 27], (0..29).collect()] {
        let rig = Rig::new(settings(), 3).with_history(3_000, 60);
        let stuck: Vec<usize> = {
            let mut world = rig.script.world();
            (1..30).map(|n| world.insert(NOW.minus(n * 2 * DAY), "in-progress")).collect()
        };
        rig.rows(rig.question()).await;
        rig.requests();
        pass(3 * SECOND).await;
        for row in &finished {
            rig.script.world().change(stuck[*row], "completed", rig.clock.now());
        }
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
        let (requests, rows) = (rig.requests(), finished.len());
        assert!(requests <= 9 + rows + 1, "a probe per window, {rows} rows, and the head: {requests}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_live_row_disappears() {
    let rig = asked_once().await;
    rig.script.world().rows.pop();
    pass(5 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_settled_row_disappears_after_a_background_renewal() {
    let rig = Rig::new(EngineSettings { settled_ttl: 100 * SECOND, ..settings() }, 3).with_history(500, 20);
    rig.rows(rig.question()).await;
    rig.script.world().rows.remove(300);
    pass(155 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 500, "served from the cache at once");
    for _ in 0..30 {
        pass(SECOND / 2).await;
        tokio::task::yield_now().await;
        rig.rows(rig.question()).await;
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_past_twice_their_time_to_live_are_read_before_the_answer() {
    let rig = Rig::new(EngineSettings { settled_ttl: 100 * SECOND, ..settings() }, 3).with_history(500, 20);
    rig.rows(rig.question()).await;
    rig.script.world().rows.remove(300);
    pass(201 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_upstream_shows_late_is_seen() {
    let rig = asked_once().await;
    pass(5 * SECOND).await;
    let created_at = rig.clock.now().minus(SECOND / 2);
    let row = rig.script.world().insert(created_at, "queued");
    rig.script.world().rows[row].shown_at = rig.clock.now().plus(8 * SECOND);
    rig.rows(rig.question()).await;
    pass(9 * SECOND).await;
    let rows = rig.rows(rig.question()).await;
    assert_eq!(rows, rig.truth(&rig.question()));
    assert_eq!(rows.len(), 6_004);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_completes_enters_one_filter_and_leaves_another() {
    let rig = Rig::new(settings(), 3).with_history(400, 20);
    let old = rig.script.world().insert(NOW.minus(6 * DAY), "in-progress");
    let new = rig.script.world().insert(NOW.minus(30 * SECOND), "in-progress");
    for has_base in [false, true] {
        if has_base {
            rig.rows(rig.question()).await;
        }
        rig.script.world().change(old, "in-progress", rig.clock.now());
        rig.script.world().change(new, "in-progress", rig.clock.now());
        pass(3 * SECOND).await;
        for status in ["in-progress", "completed"] {
            assert_eq!(rig.rows(rig.status(status)).await, rig.truth(&rig.status(status)));
        }
        rig.script.world().change(old, "completed", rig.clock.now());
        rig.script.world().change(new, "completed", rig.clock.now());
        pass(3 * SECOND).await;
        for status in ["in-progress", "completed"] {
            assert_eq!(
                rig.rows(rig.status(status)).await,
                rig.truth(&rig.status(status)),
                "{status} {has_base}"
            );
        }
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_at_the_start_settles_no_row_early() {
    for hours in [-48i64, -1, 1, 48] {
        let rig = Rig::new(settings(), 3).with_history(40, 20);
        rig.script.world().quirks.ahead = hours * 3_600_000_000;
        rig.script.learn_clock();
        let now = rig.script.now();
        let row = rig.script.world().insert(now.minus(60 * SECOND), "completed");
        rig.script.world().change(row, "completed", now.minus(30 * SECOND));
        rig.rows(rig.question()).await;
        // Its cost is added later.
        rig.script.world().change(row, "completed", now.plus(5 * SECOND));
        pass(settings().settling_ttl + SECOND).await;
        let rows = rig.rows(rig.question()).await;
        assert!(rows.iter().any(|(_, version)| *version == 2), "{hours} h ahead: {rows:?}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn differing_clocks_lose_no_rows() {
    for ahead in [-30_000_000i64, -4_000_000, 4_000_000, 30_000_000] {
        let rig = Rig::new(settings(), 3).with_history(400, 20);
        rig.script.world().quirks.ahead = ahead;
        rig.script.learn_clock();
        rig.rows(rig.question()).await;
        for _ in 0..5 {
            pass(3 * SECOND).await;
            let now = rig.script.now();
            rig.script.world().insert(now, "queued");
            pass(SECOND).await;
            let rows = rig.rows(rig.question()).await;
            assert_eq!(rows, rig.truth(&rig.question()), "{ahead}");
        }
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_evicted_entries_are_read_again() {
    let rig = Rig::new(settings(), 3).with_history(2_000, 20);
    rig.rows(rig.question()).await;
    rig.requests();
    let evicted = {
        let mut kept = rig.store.0.lock().unwrap();
        let mut keys: Vec<EntryKey> = kept.keys().copied().collect();
        keys.sort_unstable_by_key(|key| key.number);
        let evicted = keys.iter().step_by(5).map(|key| kept.remove(key)).count();
        assert!(evicted >= 5);
        evicted
    };
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    let requests = rig.requests();
    assert!(requests >= evicted && requests <= 2 * evicted + 3, "{requests} for {evicted}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn segments_stay_few_while_the_head_is_reread() {
    let rig = Rig::new(settings(), 3).with_history(100, 2);
    for n in 0..200 {
        pass(15 * SECOND).await;
        if n % 3 == 0 {
            rig.script.world().insert(rig.clock.now().minus(2 * SECOND), "completed");
        }
        rig.rows(rig.question()).await;
    }
    let parts = rig.parts().len();
    assert!(parts <= 16, "{parts} parts for 170 rows");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_reread_often_do_not_fragment_segments() {
    let settings = EngineSettings { settling_ttl: 20 * SECOND, settled_ttl: 300 * SECOND, ..settings() };
    let rig = Rig::new(settings, 3).with_history(200, 8);
    // Three calls that never finish, each with another status, on both sides of the first page boundary.
    for (status, rows_above) in [("queued", 46), ("in-progress", 48), ("ringing", 50)] {
        let apart = 8 * DAY / 200;
        rig.script.world().insert(NOW.minus(rows_above * apart + apart / 2), status);
    }
    for _ in 0..10 {
        rig.rows(rig.question()).await;
        pass(14 * SECOND).await;
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    let mut rows = rig.parts();
    rows.retain(|rows| *rows > 0);
    assert!(rows.len() <= 5, "{rows:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_budget_stretches_times_to_live_until_it_has_room_again() {
    let settings = EngineSettings { live_ttl: 10 * SECOND, settling_ttl: 120 * SECOND, ..settings() };
    let rig = Rig::new(settings, 5).with_history(200, 3);
    // A dashboard that asks every five seconds, for two minutes.
    let watch = async || {
        rig.requests();
        for _ in 0..24 {
            rig.rows(rig.question()).await;
            pass(5 * SECOND).await;
        }
        rig.requests()
    };
    watch().await;
    let before = watch().await;
    rig.script.is_short.store(true, std::sync::atomic::Ordering::Relaxed);
    watch().await;
    let meanwhile = watch().await;
    assert!(meanwhile * 3 < before, "{meanwhile} requests, not a third of {before}");
    assert!((rig.engine.stretch() - 16.0).abs() < f64::EPSILON);
    rig.script.is_short.store(false, std::sync::atomic::Ordering::Relaxed);
    watch().await;
    assert_eq!(watch().await, before);
    assert!((rig.engine.stretch() - 1.0).abs() < f64::EPSILON);
    rig.close().await;
}
