//! Lists with odd rows, odd orders and odd pages: no row is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bent::{bent, ids, soon};
use super::moving_lists::run_a_batch;
use super::script::{Compare, Listed, ScriptTotals, unavailable};
use super::*;
use crate::domain::Page;

#[tokio::test(start_paused = true)]
async fn a_list_by_last_run_without_totals_loses_nothing() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 20);
    run_a_batch(&rig);
    rig.script.world().quirks.totals = ScriptTotals::Missing;
    let rows = soon(rig.rows(rig.question())).await;
    assert_eq!(rows.len(), rig.truth(&rig.question()).len());
    rig.close().await;
}

/// A list without dates whose pages can't be walked, because many rows have the same instant.
fn tied_list_without_dates() -> Rig {
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 3);
    let mut world = rig.script.world();
    (world.quirks.compare, world.quirks.listed) = (Compare::Ignored, Listed::OldestFirst);
    (0..150).for_each(|n| {
        world.insert(NOW.minus((n % 3 + 1) * DAY), "completed");
    });
    drop(world);
    rig
}

#[tokio::test(start_paused = true)]
async fn has_more_that_ends_a_list_that_is_read_in_rounds_early_is_not_believed() {
    for total in [150, 1_000] {
        let rig = tied_list_without_dates();
        rig.script.world().pager = Some(Box::new(move |rows, of, _| Page {
            rows: rows.iter().skip((of.number as usize - 1) * 50).take(50).cloned().collect(),
            has_more: total == 1_000 && of.number < 3,
            has_flag: true,
            total: Some(total),
        }));
        let rows = soon(rig.rows(rig.question())).await;
        assert_eq!(rows.len(), 150);
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_walk_over_a_list_by_last_run_proves_nothing() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 20);
    run_a_batch(&rig);
    rig.script.world().refuse = Some(Box::new(|number| (number > 1).then(unavailable)));
    let from = Question { from: Some(NOW.minus(6 * DAY)), ..rig.question() };
    assert!(rig.collect(from.clone()).await.is_err());
    rig.script.world().refuse = None;
    let rows = soon(rig.rows(from.clone())).await;
    assert_eq!(rows.len(), rig.truth(&from).len());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_passing_error_of_upstreams_date_loses_no_rows_later() {
    let rig = Rig::new(settings(), 1);
    (1..40).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * DAY), "completed");
    });
    rig.script.world().quirks.ahead = 60_000_000;
    rig.script.learn_clock();
    rig.script.world().quirks.ahead = 0;
    rig.rows(rig.question()).await;
    rig.script.learn_clock();
    for _ in 0..10 {
        pass(10 * SECOND).await;
        let at = rig.clock.now();
        rig.script.world().insert(at, "completed");
        pass(SECOND).await;
        rig.rows(rig.question()).await;
    }
    pass(20 * SECOND).await;
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

/// An upstream whose rows with these ids have no date.
fn without_dates(undated: &'static [&'static str]) -> Rig {
    bent(settings(), |bent| {
        bent.after = Box::new(|page| {
            for row in page.rows.iter_mut().filter(|row| undated.contains(&row.id.to_string().as_str())) {
                row.created_at = None;
            }
        });
    })
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_date_stays_while_its_neighbors_are_reread() {
    // The newest row, one in the middle, and one next to a call in progress.
    let rig = without_dates(&["row-000001", "row-000105", "row-000401"]).with_history(400, 20);
    {
        let mut world = rig.script.world();
        world.insert(NOW.minus(5 * DAY).minus(SECOND * 60), "completed");
        world.insert(NOW.minus(5 * DAY), "in-progress");
    }
    let all = ids(&rig.truth(&rig.question()));
    for _ in 0..6 {
        assert_eq!(ids(&rig.rows(rig.question()).await), all);
        let lately = Question { from: Some(rig.clock.now().minus(5 * DAY + 30 * SECOND)), ..rig.question() };
        rig.rows(lately).await;
        pass(5 * SECOND).await;
        rig.script.world().insert(rig.clock.now(), "completed");
        let all_now = ids(&rig.truth(&rig.question()));
        pass(SECOND * 5).await;
        assert_eq!(ids(&rig.rows(rig.question()).await), all_now);
        let new = rig.script.world().rows.len() - 1;
        rig.script.world().rows.remove(new);
        pass(SECOND * 5).await;
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_page_before_the_last_breaks_a_walk() {
    let is_first = AtomicBool::new(true);
    let rig = bent(settings(), |bent| {
        bent.after = Box::new(move |page| {
            let is_second = page.rows.iter().any(|row| row.id == "row-000080");
            if is_second && is_first.swap(false, Ordering::Relaxed) {
                page.rows.remove(20);
            }
        });
    })
    .with_history(300, 3);
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_deleted_during_a_walk_without_dates_and_totals_hides_no_other() {
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 1).with_history(500, 5);
    {
        let mut world = rig.script.world();
        (world.quirks.compare, world.quirks.totals) = (Compare::Ignored, ScriptTotals::Missing);
        let mut pages = 0;
        world.before_page = Some(Box::new(move |world, _| {
            pages += 1;
            if pages == 3 {
                world.rows.remove(10);
            }
        }));
    }
    let rows = ids(&rig.rows(rig.question()).await);
    let truth = ids(&rig.truth(&rig.question()));
    assert!(truth.is_subset(&rows), "{:?} lost", truth.difference(&rows));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_dated_in_another_zone_hides_no_history() {
    for ahead in [0, 5 * 3_600, 14 * 3_600] {
        let rig = Rig::new(settings(), 1).with_history(100, 1);
        let first = rig.script.world().rows.last().unwrap().created_at;
        rig.script.world().born = Some(first.plus(ahead * SECOND));
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()), "{ahead} s ahead");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_dated_in_the_future_does_not_mean_an_empty_history() {
    let rig = Rig::new(settings(), 1).with_history(100, 20);
    rig.script.world().born = Some(NOW.plus(10 * DAY));
    let error = rig.collect(rig.question()).await.unwrap_err();
    assert!(matches!(error, AskError::NoHistoryStart), "{error}");
    let question = Question { from: Some(NOW.minus(30 * DAY)), ..rig.question() };
    assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    rig.close().await;
}

/// An upstream in which some rows are dated earlier by this than its `from` and `to` assume.
fn dated_earlier(by: Duration, is_meant: fn(&str) -> bool) -> Rig {
    bent(settings(), move |bent| {
        bent.after = Box::new(move |page| {
            for row in page.rows.iter_mut().filter(|row| is_meant(&row.id.to_string())) {
                row.created_at = row.created_at.map(|at| at.minus(by));
            }
        });
    })
}

#[tokio::test(start_paused = true)]
async fn rows_outside_the_dates_are_inconsistent_and_the_error_names_the_setting() {
    let one: fn(&str) -> bool = |id| id == "row-000005";
    for (by, is_meant) in [(15 * DAY, one), (8 * 3_600 * SECOND, |_| true)] {
        let rig = dated_earlier(by, is_meant).with_history(700, 20);
        let error = soon(rig.collect(rig.question())).await.expect_err("an inconsistent list");
        assert!(matches!(&error, AskError::Inconsistent { detail, .. } if detail.contains("--window none")));
        assert!(rig.requests() <= 15 + 3, "one page for each window");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_up_to_a_second_outside_the_dates_are_returned_once() {
    for millis in [1, 400, 999] {
        let rig = dated_earlier(Duration::from_millis(millis), |_| true);
        {
            // At the boundaries between windows, and at the ends of the span.
            let mut world = rig.script.world();
            for seam in 0..3 {
                for tenth in 0..60 {
                    world.insert(NOW.minus(7 * DAY * seam + tenth * SECOND / 10), "completed");
                }
            }
        }
        let given = soon(rig.rows(rig.question())).await;
        assert_eq!((ids(&given).len(), given.len()), (180, 180), "{millis} ms");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_ignores_the_dates_is_inconsistent_unless_the_setting_says_so() {
    let rig = Rig::new(settings(), 1).with_history(500, 40);
    rig.script.world().quirks.compare = Compare::Ignored;
    let error = soon(rig.collect(rig.question())).await.expect_err("an inconsistent list");
    assert!(matches!(&error, AskError::Inconsistent { detail, .. } if detail.contains("--window none")));
    rig.close().await;
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 1).with_history(500, 40);
    rig.script.world().quirks.compare = Compare::Ignored;
    assert_eq!(soon(rig.rows(rig.question())).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn ties_across_pages_of_a_list_sorted_oldest_first_lose_nothing() {
    for seed in 0..8 {
        let rig = Rig::new(settings(), seed);
        {
            let mut world = rig.script.world();
            world.insert(NOW.minus(14 * DAY), "completed");
            // All rows of the first page have the same instant, so only the second page shows the order.
            for _ in 0..51 {
                world.insert(NOW.minus(3_600 * SECOND), "completed");
            }
            world.insert(NOW.minus(SECOND), "completed");
            world.quirks.listed = Listed::OldestFirst;
        }
        assert_eq!(soon(rig.rows(rig.question())).await, rig.truth(&rig.question()), "seed {seed}");
        rig.close().await;
    }
}
