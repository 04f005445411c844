//! Lists that move while they are walked, and orders that change.

use super::bent::{self, ids, soon};
use super::script::{Compare, Listed, ScriptTotals, World};
use super::*;

/// Does something to the list before the page of this number, counted from the next one.
fn before_page(rig: &Rig, number: usize, mut change: impl FnMut(&mut World, Timestamp) + Send + 'static) {
    let mut pages = 0;
    rig.script.world().before_page = Some(Box::new(move |world, now| {
        pages += 1;
        if pages == number {
            change(world, now);
        }
    }));
}

/// An upstream that takes no dates, as `--window none` says.
fn undated() -> Rig {
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 1).with_history(1_500, 20);
    rig.script.world().quirks.compare = Compare::Ignored;
    rig
}

/// The settings that fit an upstream.
fn of(compare: Compare) -> EngineSettings {
    EngineSettings { window: settings().window.filter(|_| compare != Compare::Ignored), ..settings() }
}

/// Sixty calls made five days ago, one after the other, run now, in the same order: "sorted by last run".
fn a_batch_runs(rig: &Rig) {
    let now = rig.clock.now();
    let mut world = rig.script.world();
    for row in 400..460 {
        world.change(row, "completed", now.minus((row as u32 - 399) * SECOND / 10));
    }
    world.quirks.listed = Listed::ByUpdate;
}

// ---------------------------------------------------------------------------------------------- where dates are ignored

#[tokio::test(start_paused = true)]
async fn a_batch_that_ran_just_now_hides_nothing_where_the_dates_are_ignored() {
    for asked_before in [false, true] {
        let rig = undated();
        if asked_before {
            rig.rows(rig.question()).await;
            pass(20 * SECOND).await;
        }
        a_batch_runs(&rig);
        let now = rig.clock.now();
        (0..3).for_each(|n| {
            rig.script.world().insert(now.minus(15 * SECOND + n * SECOND), "completed");
        });
        let question = Question { from: Some(NOW.minus(3 * DAY)), ..rig.question() };
        assert_eq!(soon(rig.rows(question.clone())).await, rig.truth(&question), "{asked_before}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_without_a_last_change_end_no_walk_early() {
    let rig = bent::bent(EngineSettings { window: None, ..settings() }, |bent| {
        bent.after = Box::new(|page| page.rows.iter_mut().for_each(|row| row.updated_at = None));
    })
    .with_history(1_500, 20);
    rig.script.world().quirks.compare = Compare::Ignored;
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    a_batch_runs(&rig);
    let now = rig.clock.now();
    rig.script.world().insert(now.minus(15 * SECOND), "completed");
    let question = Question { from: Some(NOW.minus(3 * DAY)), ..rig.question() };
    assert_eq!(soon(rig.rows(question.clone())).await, rig.truth(&question));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn new_calls_break_no_walk_where_the_dates_are_ignored() {
    // A new call at every tenth page, one at each, four at each; and how many times the pages there are that may cost:
    // pages that are asked for together come in any order, those of an earlier moment once more.
    for (every, new, most) in [(10, 1, 1.5), (1, 1, 2.0), (1, 4, 2.0)] {
        let rig = undated();
        let before = rig.truth(&rig.question());
        let (mut pages, mut calls) = (0, 0);
        rig.script.world().before_page = Some(Box::new(move |world, now| {
            pages += 1;
            for _ in 0..if pages % every == 0 { new } else { 0 } {
                calls += 1;
                // No two at one instant.
                world.insert(now.plus(Duration::from_micros(calls)), "completed");
            }
        }));
        let given = ids(&soon(rig.rows(rig.question())).await);
        assert!(ids(&before).is_subset(&given), "{new} at every {every}");
        let (requests, pages) = (rig.requests(), rig.script.world().rows.len() / 50 + 1);
        assert!(requests as f64 <= pages as f64 * most, "{requests} of {pages}, {new} at every {every}");
        // Afterwards what is new costs what is new.
        pass(20 * SECOND).await;
        let before = rig.truth(&rig.question());
        let pages = (before.len() - 1_500) / 50 + 1;
        let given = ids(&soon(rig.rows(rig.question())).await);
        assert!(ids(&before).is_subset(&given), "{new} at every {every}");
        let requests = rig.requests();
        assert!(
            requests as f64 <= (pages + 2) as f64 * most,
            "{requests} of {pages}, {new} at every {every}"
        );
        assert_eq!(rig.engine.repairs(), 0);
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_calls_leave_a_list_without_dates_and_totals_readable() {
    let rig = undated();
    rig.script.world().quirks.totals = ScriptTotals::Missing;
    let before = rig.truth(&rig.question());
    let mut pages = 0;
    rig.script.world().before_page = Some(Box::new(move |world, now| {
        pages += 1;
        if pages % 10 == 0 {
            world.insert(now, "completed");
        }
    }));
    let given = ids(&soon(rig.rows(rig.question())).await);
    assert!(ids(&before).is_subset(&given));
    let requests = rig.requests();
    assert!(requests <= 7 * 31, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_goes_where_the_dates_are_ignored_hides_no_other() {
    for (page, row) in [(2, 3), (4, 10), (4, 140), (9, 700)] {
        let rig = undated();
        before_page(&rig, page, move |world, _| {
            world.rows.remove(row);
        });
        let given = ids(&soon(rig.rows(rig.question())).await);
        let truth = ids(&rig.truth(&rig.question()));
        assert!(truth.is_subset(&given), "{:?} lost", truth.difference(&given));
        let requests = rig.requests();
        assert!(requests <= 2 * 31 + 2, "{requests}");
        rig.close().await;
    }
}

// ---------------------------------------------------------------------------------------------- while the total stays

#[tokio::test(start_paused = true)]
async fn one_row_in_and_one_out_below_breaks_the_proof_though_the_total_stays() {
    for compare in [Compare::Exact, Compare::Ignored] {
        let rig = Rig::new(of(compare), 1).with_history(300, 5);
        rig.script.world().quirks.compare = compare;
        before_page(&rig, 2, |world, _| {
            world.rows.remove(250);
            world.insert(NOW.minus(61 * SECOND), "completed");
        });
        let given = soon(rig.rows(rig.question())).await;
        let truth = ids(&rig.truth(&rig.question()));
        let known: HashSet<&String> = truth.iter().filter(|id| *id != "row-000301").collect();
        assert!(known.iter().all(|id| ids(&given).contains(*id)));
        assert_eq!(ids(&given).len(), given.len(), "each once");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_change_places_under_a_filter_hide_no_other() {
    for (leaves, enters) in [(10, 250), (60, 130), (120, 290)] {
        let rig = Rig::new(settings(), 1).with_history(300, 5);
        for row in 0..300 {
            let status = if row == enters { "queued" } else { "in-progress" };
            rig.script.world().change(row, status, NOW.minus(DAY));
        }
        let before = ids(&rig.truth(&rig.status("in-progress")));
        before_page(&rig, 3, move |world, now| {
            world.change(leaves, "completed", now);
            world.change(enters, "in-progress", now);
        });
        let given = ids(&soon(rig.rows(rig.status("in-progress"))).await);
        let after = ids(&rig.truth(&rig.status("in-progress")));
        let lost: Vec<_> = before.intersection(&after).filter(|id| !given.contains(*id)).collect();
        assert!(lost.is_empty(), "{lost:?} after {leaves} left and {enters} came");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn late_rows_at_the_head_break_no_walk() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 5);
    let mut pages = 0;
    rig.script.world().before_page = Some(Box::new(move |world, _| {
        pages += 1;
        if pages % 4 == 0 {
            world.insert(NOW.minus(SECOND), "queued");
        }
    }));
    let before = ids(&rig.truth(&rig.question()));
    assert!(before.is_subset(&ids(&soon(rig.rows(rig.question())).await)));
    let requests = rig.requests();
    // Where the list grew, the seam's instant is asked apart.
    assert!(requests <= (1_000 / 50 + 2) * 5 / 4 + 2, "{requests}");
    rig.script.world().before_page = None;
    pass(2 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

// ---------------------------------------------------------------------------------------------- under a slow reader

#[tokio::test(start_paused = true)]
async fn a_stream_taken_over_many_minutes_has_every_row_once_while_others_read_the_same_anew() {
    for (status, evicts) in [(None, false), (None, true), (Some("completed"), false)] {
        let rig = Rig::new(settings(), 5).with_history(1_500, 20);
        let question = bent::streamed(status.map_or_else(|| rig.question(), |status| rig.status(status)));
        rig.rows(question.clone()).await;
        pass(20 * SECOND).await;
        let before = ids(&rig.truth(&question));
        let mut slow = rig.engine.ask(question.clone()).await.unwrap();
        let (mut given, mut changed) = (Vec::new(), HashSet::new());
        while let Some(slice) = slow.next().await.unwrap() {
            given.extend(rows(&slice));
            let now = rig.clock.now();
            for _ in 0..3 {
                let mut world = rig.script.world();
                let rows = world.rows.len();
                let (gone, other) = (world.random(rows), world.random(rows - 1));
                changed.insert(world.rows.remove(gone).id);
                changed.insert(world.rows[other].id.clone());
                world.change(other, "in-progress", now);
                world.insert(now, "completed");
            }
            pass(20 * SECOND).await;
            if evicts {
                rig.store.0.lock().unwrap().retain(|key, _| key.number % 3 != 0);
            }
            let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
            rig.rows(Question { directives, ..rig.question() }).await;
        }
        assert_eq!(ids(&given).len(), given.len(), "each once");
        let lost: Vec<_> =
            before.iter().filter(|id| !changed.contains(*id) && !ids(&given).contains(*id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let created =
            |id: &String| rig.script.world().rows.iter().find(|row| row.id == *id).map(|row| row.created_at);
        let order: Vec<Timestamp> = given.iter().filter_map(|(id, _)| created(id)).collect();
        assert!(order.is_sorted_by_key(|at| std::cmp::Reverse(*at)));
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_page_that_is_not_the_last_any_longer_when_it_is_asked_for_again_ends_no_walk() {
    let script = Arc::new(std::sync::OnceLock::<Arc<Script>>::new());
    let world = Arc::clone(&script);
    let times = std::sync::atomic::AtomicU32::new(0);
    let rig = bent::bent(settings(), |bent| {
        // The third page comes before the list grows, the second after.
        bent.before = Box::new(|_, page, _| Ok(if page.number == 2 { SECOND / 10 } else { Duration::ZERO }));
        bent.served = Box::new(move |page| {
            if page.number == 2 && times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                let mut world = world.get().unwrap().world();
                (0..5).for_each(|_| {
                    world.insert(NOW.minus(SECOND), "completed");
                });
            }
        });
    })
    .with_history(150, 5);
    assert!(script.set(Arc::clone(&rig.script)).is_ok());
    let before = ids(&rig.truth(&rig.question()));
    let given = ids(&soon(rig.rows(rig.question())).await);
    assert!(before.is_subset(&given), "{:?}", before.difference(&given));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_goes_from_a_list_oldest_first_while_the_total_stays_what_it_was_hides_no_other() {
    for compare in [Compare::Exact, Compare::Ignored] {
        let rig = Rig::new(of(compare), 1).with_history(120, 5);
        {
            let mut world = rig.script.world();
            (world.quirks.totals, world.quirks.compare, world.quirks.listed) =
                (ScriptTotals::Frozen, compare, Listed::OldestFirst);
        }
        rig.rows(rig.question()).await;
        pass(20 * SECOND).await;
        let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
        rig.store.0.lock().unwrap().clear();
        before_page(&rig, 2, |world, _| {
            world.rows.swap_remove(110);
        });
        let given = ids(&soon(rig.rows(Question { directives, ..rig.question() })).await);
        let truth = ids(&rig.truth(&rig.question()));
        assert!(truth.is_subset(&given), "{:?} {compare:?}", truth.difference(&given));
        rig.close().await;
    }
}
