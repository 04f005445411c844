//! Lists that are hard to walk: the answer has every row exactly once, collected and streamed.

use super::script::{Compare, Listed, ScriptTotals, World};
use super::*;

/// Requests all rows of a cold gateway, collected and streamed, and compares both with the list. Returns the
/// numbers of requests.
async fn has_every_row(arrange: impl Fn(&mut World)) -> [usize; 2] {
    has_every_row_with(&settings(), arrange).await
}

async fn has_every_row_with(settings: &EngineSettings, arrange: impl Fn(&mut World)) -> [usize; 2] {
    let mut requests = [0; 2];
    for (way, counted) in requests.iter_mut().enumerate() {
        let rig = Rig::new(settings.clone(), 5).with_history(1_500, 20);
        arrange(&mut rig.script.world());
        let question = rig.question();
        let truth = rig.truth(&question);
        let rows = if way == 0 { rig.rows(question).await } else { rig.stream(question).await.unwrap() };
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), rows.len(), "no row twice");
        assert_eq!(rows, truth);
        *counted = rig.requests();
        rig.close().await;
    }
    requests
}

#[tokio::test(start_paused = true)]
async fn a_plain_list_costs_its_pages() {
    let requests = has_every_row(|_| {}).await;
    assert!(requests.iter().all(|count| *count <= 1_500 / 50 + 2 * 3), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn more_ties_than_a_page_in_a_changing_order() {
    has_every_row(|world| {
        let at = NOW.minus(5 * DAY);
        (0..130).for_each(|_| {
            world.insert(at, "completed");
        });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_that_still_gets_rows_is_read_after_its_last_commit() {
    let rig = Rig::new(settings(), 5).with_history(100, 3);
    let second = NOW.floor_second();
    {
        let mut world = rig.script.world();
        (0..60).for_each(|n| {
            world.insert(second.plus(Duration::from_millis(n)), "completed");
        });
        // Four more at every request, for three seconds.
        world.before_page = Some(Box::new(move |world, now| {
            if now < NOW.plus(3 * SECOND) {
                (0..4).for_each(|n| {
                    world.insert(second.plus(Duration::from_millis(n * 20)), "completed");
                });
            }
        }));
    }
    let before = rig.truth(&rig.question());
    let rows = rig.rows(rig.question()).await;
    assert!(before.iter().all(|row| rows.contains(row)), "{} of {}", rows.len(), before.len());
    let requests = rig.requests();
    assert!(requests < 100, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn more_ties_than_a_page_and_no_total() {
    has_every_row(|world| {
        let at = NOW.minus(5 * DAY);
        (0..130).for_each(|_| {
            world.insert(at, "completed");
        });
        world.quirks.totals = ScriptTotals::Missing;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dates_that_are_compared_in_whole_seconds() {
    has_every_row(|world| {
        for micros in (0..3_000_000).step_by(20_000) {
            world.insert(NOW.minus(3 * DAY).plus(Duration::from_micros(micros)), "completed");
        }
        world.quirks.compare = Compare::RowsAtSeconds;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pages_without_a_total() {
    let requests = has_every_row(|world| world.quirks.totals = ScriptTotals::Missing).await;
    assert!(requests.iter().all(|count| *count <= 1_500 / 50 * 3 / 2 + 2 * 3), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_total_that_counts_all_rows() {
    let requests = has_every_row(|world| world.quirks.totals = ScriptTotals::OfEverything).await;
    // Some more requests to find out what the total counts, in each window that is read at the same time.
    assert!(requests.iter().all(|count| *count <= 1_500 / 50 + 3 * (8 + 2)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_empty_once_despite_its_total() {
    for number in [1, 2, 3, 10] {
        has_every_row(|world| world.emptied = Some(number)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_total() {
    for off in [7, -60] {
        has_every_row(|world| world.quirks.totals = ScriptTotals::Off(off)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_sorted_by_last_update() {
    has_every_row(|world| {
        for row in (0..world.rows.len()).step_by(7) {
            world.change(row, "completed", NOW.minus(row as u32 % 50 * SECOND));
        }
        world.quirks.listed = Listed::ByUpdate;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_sorted_oldest_first() {
    has_every_row(|world| world.quirks.listed = Listed::OldestFirst).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_dates() {
    let settings = EngineSettings { window: None, ..settings() };
    let requests = has_every_row_with(&settings, |world| world.quirks.compare = Compare::Ignored).await;
    assert!(requests.iter().all(|count| *count <= 1_500 / 50 + 6), "{requests:?}");
}

/// Checks that the rows that exist throughout come exactly once, while `mutate` changes the list.
async fn has_rows_that_stay(
    totals: ScriptTotals,
    mutate: impl Fn(&mut World, Timestamp) + Clone + Send + 'static,
) {
    for way in 0..2 {
        let rig = Rig::new(settings(), 11).with_history(1_500, 20);
        rig.script.world().quirks.totals = totals;
        rig.script.world().before_page = Some(Box::new(mutate.clone()));
        let question = rig.question();
        let before = rig.truth(&question);
        let rows = if way == 0 {
            rig.rows(question.clone()).await
        } else {
            rig.stream(question.clone()).await.unwrap()
        };
        let after = rig.truth(&question);
        let count = |id: &String| rows.iter().filter(|(other, _)| other == id).count();
        for (id, _) in &before {
            if after.iter().any(|(other, _)| other == id) {
                assert_eq!(count(id), 1, "{id}");
            }
        }
        assert!(rows.iter().all(|(id, _)| count(id) == 1));
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_added_at_every_request() {
    for totals in [ScriptTotals::Exact, ScriptTotals::Missing, ScriptTotals::OfEverything] {
        has_rows_that_stay(totals, |world, _| {
            for _ in 0..4 {
                let back = world.random(19 * 86_400) as u32;
                world.insert(NOW.minus(back * SECOND), "completed");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_deleted_at_every_request() {
    for totals in [ScriptTotals::Exact, ScriptTotals::Missing, ScriptTotals::Off(7)] {
        has_rows_that_stay(totals, |world, _| {
            let gone = {
                let rows = world.rows.len();
                world.random(rows)
            };
            world.rows.swap_remove(gone);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_promises_more_is_an_error() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    rig.script.world().before_page = Some(Box::new(|world, _| {
        // Sixty new rows in the newest second, at every request.
        for _ in 0..60 {
            world.insert(NOW.minus(30 * SECOND), "completed");
        }
    }));
    let error = rig.collect(rig.question()).await.unwrap_err();
    assert!(matches!(error, AskError::Inconsistent { .. } | AskError::NotReady { .. }), "{error}");
    rig.script.world().before_page = None;
    rig.close().await;
}
