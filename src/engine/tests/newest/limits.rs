//! Limits with filters and dates, with odd lists, and while upstream fails.

use super::*;
use crate::engine::tests::script::{Listed, ScriptTotals, unavailable};

#[tokio::test(start_paused = true)]
async fn a_limit_under_a_status_reads_only_what_its_rows_need() {
    let rig = Rig::new(unhurried(), 1).with_history(6_000, 6);
    {
        let mut world = rig.script.world();
        for row in (0..6_000).step_by(3) {
            world.rows[row].status = "failed".to_owned();
        }
    }
    let question = Question { newest: Some(Newest { skip: 0, take: 100 }), ..rig.status("failed") };
    let truth = rig.truth(&question);
    let (rows, total) = rig.part(question.clone()).await;
    assert_eq!((rows, total), (truth[..100].to_vec(), None));
    let requests = rig.requests();
    assert!(
        requests <= 5,
        "{requests}: one page shows the density of the rows, then pieces of 42 rows follow"
    );
    rig.part(question).await;
    assert_eq!(rig.requests(), 0, "the rows are stored");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_over_several_statuses_picks_them_from_the_rows_of_all() {
    let rig = Rig::new(unhurried(), 1).with_history(6_000, 6);
    {
        let mut world = rig.script.world();
        for row in (0..6_000).step_by(10) {
            world.rows[row].status = "failed".to_owned();
        }
    }
    let newest = Some(Newest { skip: 0, take: 30 });
    let question = Question { newest, ..rig.statuses(&["failed", "busy"]) };
    let truth = rig.truth(&question);
    assert_eq!(rig.part(question.clone()).await, (truth[..30].to_vec(), None));
    assert_eq!(rig.requests(), 7, "310 rows");
    assert_eq!(rig.part(question).await.0.len(), 30);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_between_two_dates_counts_the_newest_before_the_second() {
    let rig = large(unhurried());
    let question =
        Question { to: Some(NOW.minus(2 * DAY)), from: Some(NOW.minus(4 * DAY)), ..rig.newest(0, 60) };
    let truth = rig.truth(&question);
    assert_eq!(rig.part(question).await, (truth[..60].to_vec(), None));
    assert_eq!(rig.requests(), 2);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_gives_the_newest_rows_if_those_are_known() {
    let rig = large(unhurried());
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let cached = |take| Question { directives, ..rig.newest(0, take) };
    assert!(matches!(rig.collect(cached(50)).await, Err(AskError::NotCached)));
    rig.page(1, 50).await;
    assert_eq!(rig.part(cached(50)).await, (rig.truth_of(0..50), None));
    assert!(matches!(rig.collect(cached(500)).await, Err(AskError::NotCached)));
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_rows_are_served_stale_while_upstream_fails() {
    let rig = large(EngineSettings { stale_if_error: 600 * SECOND, ..settings() });
    let first = rig.part(rig.newest(0, 50)).await;
    rig.fail_upstream();
    pass(30 * SECOND).await;
    assert_eq!(rig.part(rig.newest(0, 50)).await, first);
    assert!(rig.collect(rig.newest(0, 5_000)).await.is_err(), "those below were never read");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_answer_continues_below_a_missing_part() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    rig.script.world().refuse = Some(Box::new(|number| (number <= 2).then(unavailable)));
    let lenient = Question { tolerance: Tolerance::Lenient, ..rig.newest(0, 40) };
    let answer = rig.collect(lenient).await.unwrap();
    let missing = answer.verdict.missing[0].span;
    let there: Vec<_> = answer.slices.iter().flat_map(rows).collect();
    assert_eq!(there.len(), 40);
    let given =
        rig.script.world().rows.iter().filter(|row| there.iter().any(|(id, _)| *id == row.id)).count();
    assert_eq!(given, 40);
    assert!(!answer.verdict.is_complete() && missing.width() <= 7 * DAY);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_rows_are_right_whatever_the_order_of_the_list() {
    for (listed, totals) in [
        (Listed::NewestFirst, ScriptTotals::Missing),
        (Listed::NewestFirst, ScriptTotals::OfEverything),
        (Listed::OldestFirst, ScriptTotals::Exact),
        (Listed::OldestFirst, ScriptTotals::Missing),
        (Listed::ByUpdate, ScriptTotals::Exact),
        (Listed::ByUpdate, ScriptTotals::Missing),
    ] {
        let rig = Rig::new(unhurried(), 1).with_history(700, 12);
        {
            let mut world = rig.script.world();
            (world.quirks.listed, world.quirks.totals) = (listed, totals);
            // Old calls that just ran again are at the top of a list sorted by last update.
            for row in 300..360 {
                world.rows[row].updated_at = NOW.minus(SECOND);
            }
        }
        for (skip, take) in [(0, 20), (0, 50), (20, 20), (0, 130)] {
            let (rows, total) = rig.part(rig.newest(skip, take)).await;
            let wanted = skip as usize..(skip + take) as usize;
            assert_eq!((rows, total), (rig.truth_of(wanted), None), "{listed:?} {totals:?}");
        }
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_one_instant_at_the_edge_of_a_page_come_once() {
    let rig = Rig::new(unhurried(), 1);
    {
        let mut world = rig.script.world();
        for row in 0..600u32 {
            world.insert(NOW.minus(60 * SECOND).minus(row / 30 * 600 * SECOND), "completed");
        }
    }
    let mut all = Vec::new();
    for number in 1..=12 {
        all.extend(rig.page(number, 50).await.0);
    }
    assert_eq!(all, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn pages_work_with_an_upstream_without_dates() {
    let rig = Rig::new(EngineSettings { window: None, ..unhurried() }, 1).with_history(1_000, 30);
    rig.script.world().quirks.compare = super::script::Compare::Ignored;
    for number in [1, 3, 20] {
        let rows = (number as usize - 1) * 50..number as usize * 50;
        assert_eq!(rig.page(number, 50).await.0, rig.truth_of(rows));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_page_leaves_nothing_running() {
    let rig = large(unhurried());
    let page = rig.part(rig.newest(5_000, 50));
    assert!(tokio::time::timeout(SECOND / 10, page).await.is_err());
    tokio::time::sleep(SECOND).await;
    let requests = rig.requests();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(rig.requests(), 0);
    assert!(requests < 60, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_not_ready_counts_the_pages_that_it_needs() {
    let rig = large(unhurried());
    let mode = ResponseMode::Paged { deadline: Instant::now() + SECOND / 5 };
    let error = rig.collect(Question { mode, ..rig.newest(5_000, 50) }).await.unwrap_err();
    let AskError::NotReady { pages_read, pages_planned, awaited, .. } = error else { panic!("{error}") };
    assert!(pages_read > 0 && (100..=104).contains(&pages_planned), "{pages_read} of {pages_planned}");
    assert_eq!(awaited, Awaited::Pages);
    rig.close().await;
}
