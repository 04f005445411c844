//! Lists that change while they are walked, and whose order changes.

use super::bent::{self, ids, soon};
use super::script::{Compare, Listed, ScriptTotals, World};
use super::*;

/// Changes the list before the page with this number, counted from the next one.
fn before_page(rig: &Rig, number: usize, mut change: impl FnMut(&mut World, Timestamp) + Send + 'static) {
    let mut pages = 0;
    rig.script.world().before_page = Some(Box::new(move |world, now| {
        pages += 1;
        if pages == number {
            change(world, now);
        }
    }));
}

/// An upstream without dates, with `--window none`.
fn undated() -> Rig {
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 1).with_history(1_500, 20);
    rig.script.world().quirks.compare = Compare::Ignored;
    rig
}

/// The settings for an upstream that compares dates like this.
fn of(compare: Compare) -> EngineSettings {
    EngineSettings { window: settings().window.filter(|_| compare != Compare::Ignored), ..settings() }
}

/// Sixty calls that were created five days ago in succession run now, in the same order. The list is "sorted
/// by last run".
pub(super) fn run_a_batch(rig: &Rig) {
    let now = rig.clock.now();
    let mut world = rig.script.world();
    for row in 400..460 {
        world.change(row, "completed", now.minus((row as u32 - 399) * SECOND / 10));
    }
    world.quirks.listed = Listed::ByUpdate;
}

// --------------------------------------------------------------------------------------- lists without dates

#[tokio::test(start_paused = true)]
async fn a_batch_that_just_ran_hides_no_rows_of_a_list_without_dates() {
    for asked_before in [false, true] {
        let rig = undated();
        if asked_before {
            rig.rows(rig.question()).await;
            pass(20 * SECOND).await;
        }
        run_a_batch(&rig);
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
async fn rows_without_updated_at_do_not_end_a_walk_early() {
    let rig = bent::bent(EngineSettings { window: None, ..settings() }, |bent| {
        bent.after = Box::new(|page| page.rows.iter_mut().for_each(|row| row.updated_at = None));
    })
    .with_history(1_500, 20);
    rig.script.world().quirks.compare = Compare::Ignored;
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    run_a_batch(&rig);
    let now = rig.clock.now();
    rig.script.world().insert(now.minus(15 * SECOND), "completed");
    let question = Question { from: Some(NOW.minus(3 * DAY)), ..rig.question() };
    assert_eq!(soon(rig.rows(question.clone())).await, rig.truth(&question));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn new_calls_do_not_break_a_walk_of_a_list_without_dates() {
    // A new call at every tenth page, one at each, four at each; and the most requests per page of the list.
    // Pages that are requested together arrive in any order, and those from an earlier moment are requested
    // again.
    for (every, new, most) in [(10, 1, 1.5), (1, 1, 2.0), (1, 4, 2.0)] {
        let rig = undated();
        let before = rig.truth(&rig.question());
        let (mut pages, mut calls) = (0, 0);
        rig.script.world().before_page = Some(Box::new(move |world, now| {
            pages += 1;
            for _ in 0..if pages % every == 0 { new } else { 0 } {
                calls += 1;
                // Each at another instant.
                world.insert(now.plus(Duration::from_micros(calls)), "completed");
            }
        }));
        let given = ids(&soon(rig.rows(rig.question())).await);
        assert!(ids(&before).is_subset(&given), "{new} at every {every}");
        let (requests, pages) = (rig.requests(), rig.script.world().rows.len() / 50 + 1);
        assert!(requests as f64 <= pages as f64 * most, "{requests} of {pages}, {new} at every {every}");
        // Afterward, a refresh costs only the new pages.
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
async fn a_list_without_dates_and_totals_is_readable_despite_new_calls() {
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
async fn a_row_deleted_from_a_list_without_dates_hides_no_other() {
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

// --------------------------------------------------------------------- changes that leave the total as it is

#[tokio::test(start_paused = true)]
async fn one_row_in_and_one_out_breaks_the_proof_although_the_total_is_the_same() {
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
        assert_eq!(ids(&given).len(), given.len(), "no row twice");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_enter_and_leave_a_filter_hide_no_other() {
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
async fn late_rows_at_the_head_do_not_break_a_walk() {
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
    // After the list grew, the instant at the page boundary is requested separately.
    assert!(requests <= (1_000 / 50 + 2) * 5 / 4 + 2, "{requests}");
    rig.script.world().before_page = None;
    pass(2 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

// ---------------------------------------------------------------------------------------------- slow readers

#[tokio::test(start_paused = true)]
async fn a_slow_stream_has_every_row_once_while_others_reread_the_list() {
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
        assert_eq!(ids(&given).len(), given.len(), "no row twice");
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
async fn a_last_page_that_has_a_successor_when_reread_does_not_end_a_walk() {
    let script = Arc::new(std::sync::OnceLock::<Arc<Script>>::new());
    let world = Arc::clone(&script);
    let times = std::sync::atomic::AtomicU32::new(0);
    let rig = bent::bent(settings(), |bent| {
        // The third page is served before the list grows, the second page after.
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
async fn a_row_deleted_from_a_list_sorted_oldest_first_hides_no_other_despite_a_frozen_total() {
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
        rig.evict();
        before_page(&rig, 2, |world, _| {
            world.rows.swap_remove(110);
        });
        let given = ids(&soon(rig.rows(Question { directives, ..rig.question() })).await);
        let truth = ids(&rig.truth(&rig.question()));
        assert!(truth.is_subset(&given), "{:?} {compare:?}", truth.difference(&given));
        rig.close().await;
    }
}
