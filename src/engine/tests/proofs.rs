//! Upstreams that contradict themselves: an answer is complete only if nothing in upstream's responses
//! contradicts it.

use super::bent::{ids, soon};
use super::script::{Pager, ScriptTotals};
use super::*;
use crate::domain::{FilterFacts, Page, PageOf, Row};

/// A page of rows from a position.
fn page(rows: &[Row], start: usize, size: usize, has_more: bool, total: Option<usize>) -> Page {
    let rows = rows.iter().skip(start).take(size).cloned().collect();
    Page { rows, has_more, has_flag: true, total: total.map(|total| total as u64) }
}

/// The position and size of a page with at most `most` rows.
fn place(of: PageOf, most: usize) -> (usize, usize) {
    let size = (of.size as usize).min(most);
    ((of.number as usize - 1) * size, size)
}

/// A history in one window, divided into pages by `pager`.
fn rig(rows: u32, days: u32, pager: impl FnMut(&[Row], PageOf, u64) -> Page + Send + 'static) -> Rig {
    let rig = Rig::new(settings(), 3).with_history(rows, days);
    rig.script.world().pager = Some(Box::new(pager) as Pager);
    rig
}

/// Requests all rows once and compares them with the list. Returns the number of requests.
async fn complete(rig: Rig) -> usize {
    let question = rig.question();
    let given = soon(rig.rows(question.clone())).await;
    let truth = rig.truth(&question);
    assert!(given == truth, "{} of {} rows", given.len(), truth.len());
    let requests = rig.requests();
    rig.close().await;
    requests
}

/// Requests all rows once and gets an error, which is remembered for a minute. Returns the number of
/// requests.
async fn inconsistent(rig: Rig) -> usize {
    let error = soon(rig.collect(rig.question())).await.expect_err("an inconsistent list");
    assert!(matches!(error, AskError::Inconsistent { .. }), "{error}");
    let requests = rig.requests();
    pass(30 * SECOND).await;
    for directives in [
        CacheDirectives::default(),
        CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() },
    ] {
        let error = soon(rig.collect(Question { directives, ..rig.question() }))
            .await
            .expect_err("an inconsistent list");
        assert!(matches!(error, AskError::Inconsistent { .. }), "{error}");
    }
    assert!(rig.requests() <= 2, "only the head: the error is remembered");
    pass(31 * SECOND).await;
    let question = Question { mode: rig.question().mode, ..rig.question() };
    assert!(soon(rig.collect(question)).await.is_err());
    assert!(rig.requests() > 0, "the error is remembered for no longer than a minute");
    rig.close().await;
    requests
}

// ------------------------------------------------------------------------------------------- truncated pages

#[tokio::test(start_paused = true)]
async fn pages_clamped_to_20_rows_without_has_more_are_read_by_their_total() {
    let rig = rig(333, 5, |rows, of, _| {
        let (start, size) = place(of, 20);
        page(rows, start, size, false, Some(rows.len()))
    });
    assert_eq!(complete(rig).await, 333usize.div_ceil(20) + 3);
}

#[tokio::test(start_paused = true)]
async fn has_more_that_assumes_50_rows_a_page_is_not_believed_if_20_come() {
    for counts_by_size in [true, false] {
        let rig = rig(333, 5, move |rows, of, _| {
            let (start, size) = place(of, 20);
            let by = if counts_by_size { of.size as usize } else { 50 };
            page(rows, start, size, of.number as usize * by < rows.len(), Some(rows.len()))
        });
        assert_eq!(complete(rig).await, 333usize.div_ceil(20) + 3);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_clamped_to_one_row_are_read() {
    for has_more in [true, false] {
        let rig = rig(12, 5, move |rows, of, _| {
            let (start, size) = place(of, 1);
            page(rows, start, size, has_more && start + size < rows.len(), Some(rows.len()))
        });
        let requests = complete(rig).await;
        assert!(requests <= 12 + 4, "{requests}");
    }
}

/// A page without a flag, whose `has_more` is judged by its rows.
fn silent(rows: &[Row], start: usize, size: usize, of: PageOf, total: Option<usize>) -> Page {
    let page = page(rows, start, size, false, total);
    Page { has_more: page.rows.len() >= of.size as usize, has_flag: false, ..page }
}

#[tokio::test(start_paused = true)]
async fn clamped_pages_that_do_not_say_whether_more_follow_are_read_to_the_end() {
    for (rows, most) in [(333, 20), (40, 20), (19, 20), (49, 49), (120, 50)] {
        for (counts_its_rows, window) in
            [(true, settings().window), (false, settings().window), (false, None)]
        {
            let rig = Rig::new(EngineSettings { window, ..settings() }, 3).with_history(rows, 5);
            rig.script.world().pager = Some(Box::new(move |rows, of, _| {
                let (start, size) = place(of, most);
                let count = rows.len().saturating_sub(start).min(size);
                silent(rows, start, size, of, counts_its_rows.then_some(count))
            }));
            complete(rig).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_on_one_page_without_a_flag_costs_one_request_more() {
    for rows in [7, 49] {
        let rig = rig(rows, 5, |rows, of, _| silent(rows, 0, rows.len(), of, None));
        assert_eq!(complete(rig).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clamped_first_page_without_a_second_is_read_in_smaller_spans() {
    let rig = rig(120, 5, |rows, of, _| match of.number {
        1 => page(rows, 0, 20, false, Some(rows.len())),
        _ => page(rows, 0, 0, false, Some(rows.len())),
    });
    let requests = complete(rig).await;
    assert!(requests <= 3 * 120 / 10, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn pages_that_leave_rows_out_between_them_are_read_in_smaller_spans() {
    let rig = rig(333, 5, |rows, of, _| {
        let start = (of.number as usize - 1) * 50;
        page(rows, start, 20, start + 50 < rows.len(), Some(rows.len()))
    });
    let requests = complete(rig).await;
    assert!(requests <= 150, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_page_size_that_changes_loses_nothing() {
    for (first, then, has_more) in
        [(50, 20, true), (20, 50, true), (20, 7, true), (50, 20, false), (30, 20, false)]
    {
        let mut pages = 0;
        let rig = rig(333, 5, move |rows, of, _| {
            pages += 1;
            let (start, size) = place(of, if pages <= 3 { first } else { then });
            page(rows, start, size, has_more && start + size < rows.len(), Some(rows.len()))
        });
        let requests = complete(rig).await;
        assert!(
            requests <= 4 * 333usize.div_ceil(then.min(first)) + 8,
            "{first} {then} {has_more}: {requests}"
        );
    }
}

// ---------------------------------------------------------------------------------- lists that end too early

#[tokio::test(start_paused = true)]
async fn has_more_that_ends_a_list_early_is_not_believed() {
    for last in [1, 3, 5] {
        let rig = rig(300, 5, move |rows, of, _| {
            let (start, size) = place(of, 50);
            page(rows, start, size, of.number < last && start + size < rows.len(), Some(rows.len()))
        });
        let requests = complete(rig).await;
        assert!(requests <= 6 + 2, "{last}: {requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn has_more_that_ends_a_list_early_is_not_believed_if_the_total_counts_all_windows() {
    let rig = rig(700, 16, |rows, of, all| {
        let (start, size) = place(of, 50);
        page(rows, start, size, of.number < 3 && start + size < rows.len(), Some(all as usize))
    });
    let requests = complete(rig).await;
    assert!(requests <= 700 / 50 + 3 + 3 * 8, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_no_more_than_three_pages_is_read_in_smaller_spans() {
    let rig = rig(400, 5, |rows, of, _| {
        let (start, size) = place(of, 50);
        let size = if of.number > 3 { 0 } else { size };
        page(rows, start, size, of.number < 3 && start + size < rows.len(), Some(rows.len()))
    });
    let requests = complete(rig).await;
    assert!(requests <= 3 + 8 + 2 * 400 / 42, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_first_page_that_is_cut_short_once_is_followed_up() {
    for rows in [30, 45, 120] {
        let mut pages = 0;
        let rig = rig(rows, 5, move |rows, of, _| {
            pages += 1;
            let (start, size) = place(of, 50);
            let (shown, has_more) = if pages == 1 { (13, false) } else { (size, start + size < rows.len()) };
            page(rows, start, shown, has_more, Some(rows.len()))
        });
        let requests = complete(rig).await;
        assert!(requests <= 3 + 8 + 2, "{rows}: {requests}");
    }
}

// -------------------------------------------------------------------------------------- lists that never end

#[tokio::test(start_paused = true)]
async fn an_ignored_page_number_does_not_make_an_endless_list() {
    for (rows, total) in [(300, true), (300, false), (7, true), (7, false), (50, true)] {
        let rig = rig(rows, 5, move |rows, _, _| page(rows, 0, 50, true, total.then_some(rows.len())));
        let requests = inconsistent(rig).await;
        assert!(requests <= (rows as usize).div_ceil(50) + 8, "{rows} {total}: {requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ignored_page_number_is_worked_around_if_has_more_is_right() {
    for total in [true, false] {
        let rig =
            rig(300, 5, move |rows, _, _| page(rows, 0, 50, rows.len() > 50, total.then_some(rows.len())));
        let requests = complete(rig).await;
        assert!(requests <= 6 + 8 + 3 * 300 / 42, "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn has_more_before_an_empty_page_is_not_believed() {
    for (rows, total, always) in
        [(120, true, false), (120, true, true), (120, false, false), (20, false, false), (20, true, true)]
    {
        let rig = rig(rows, 5, move |rows, of, _| {
            let (start, size) = place(of, 50);
            let has_more = always || start < rows.len();
            page(rows, start, size, has_more, total.then_some(rows.len()))
        });
        let requests = complete(rig).await;
        assert!(requests <= (rows as usize).div_ceil(50) + 6, "{rows} {total} {always}: {requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_list_costs_a_bounded_number_of_requests() {
    for total in [None, Some(100), Some(100_000)] {
        let mut made = 0u32;
        let rig = rig(1, 5, move |rows, of, _| {
            let row = |made: u32| {
                let at = of.span.from().plus(Duration::from_micros(u64::from(made)));
                let at = at.min(of.span.to());
                Row {
                    id: format!("made-{made}").into(),
                    created_at: Some(at),
                    ..rows.first().unwrap_or(&ROW).clone()
                }
            };
            let listed: Vec<Row> = (made..made + of.size).map(row).collect();
            made += of.size;
            page(&listed, 0, 50, true, total)
        });
        let error = soon(rig.collect(rig.question())).await.expect_err("an inconsistent list");
        assert!(matches!(error, AskError::Inconsistent { .. }), "{error}");
        let requests = rig.requests();
        assert!(requests <= 520, "{total:?}: {requests}");
        assert!(soon(rig.collect(rig.question())).await.is_err());
        assert_eq!(rig.requests(), 0, "the error is remembered");
        rig.close().await;
    }
}

static ROW: std::sync::LazyLock<Row> = std::sync::LazyLock::new(|| Row {
    id: "row".into(),
    created_at: None,
    updated_at: None,
    facts: FilterFacts::default(),
    status: None,
    bytes: r#"{"version":0}"#.into(),
});

#[tokio::test(start_paused = true)]
async fn nothing_is_older_than_2020() {
    let year_one = Timestamp::from_micros(-62_135_596_800_000_000);
    for (born, from) in [(Some(year_one), None), (Some(NOW.minus(3_000 * DAY)), Some(year_one))] {
        let rig = Rig::new(settings(), 1).with_history(10, 5);
        rig.script.world().born = born;
        let question = Question { from, ..rig.question() };
        assert_eq!(soon(rig.rows(question)).await.len(), 10);
        let requests = rig.requests();
        assert!((340..=360).contains(&requests), "one for each window since 2020: {requests}");
        rig.close().await;
    }
}

// -------------------------------------------------------------------------- totals that count something else

#[tokio::test(start_paused = true)]
async fn a_total_that_counts_something_else_costs_a_few_requests_once() {
    for (rows, totals) in [
        (1, ScriptTotals::OfEverything),
        (40, ScriptTotals::OfEverything),
        (300, ScriptTotals::OfEverything),
        (40, ScriptTotals::Off(7)),
    ] {
        let rig = Rig::new(settings(), 1).with_history(rows, 5);
        (0..30).for_each(|week| {
            rig.script.world().insert(NOW.minus((8 + week) * DAY), "completed");
        });
        rig.script.world().quirks.totals = totals;
        let newest = Question { from: Some(NOW.minus(6 * DAY)), ..rig.question() };
        assert_eq!(soon(rig.rows(newest.clone())).await, rig.truth(&newest));
        let (requests, pages) = (rig.requests(), (rows as usize).div_ceil(50));
        assert!(requests <= pages + 8, "{rows} {totals:?}: {requests}");
        let older = Question { to: Some(NOW.minus(7 * DAY)), ..rig.question() };
        assert_eq!(soon(rig.rows(older.clone())).await, rig.truth(&older));
        let requests = rig.requests();
        assert!(requests <= 31usize.div_ceil(7) + 1, "{rows} {totals:?}: {requests} later");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_ignores_the_filters_is_harmless() {
    let rig = Rig::new(settings(), 1).with_history(300, 5);
    for row in [3, 100, 250] {
        rig.script.world().change(row, "failed", NOW.minus(DAY));
    }
    rig.script.world().quirks.totals = ScriptTotals::OfEverything;
    assert_eq!(soon(rig.rows(rig.status("failed"))).await, rig.truth(&rig.status("failed")));
    let requests = rig.requests();
    assert!(requests <= 1 + 8, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn totals_that_shrink_or_are_missing_on_some_pages_lose_nothing() {
    for missing in [true, false] {
        let rig = rig(333, 5, move |rows, of, _| {
            let (start, size) = place(of, 50);
            let total = match missing {
                true => (of.number % 2 == 1).then_some(rows.len()),
                false => Some(rows.len().saturating_sub(of.number as usize)),
            };
            page(rows, start, size, start + size < rows.len(), total)
        });
        let requests = complete(rig).await;
        assert!(requests <= 3 * 333usize.div_ceil(50) + 8, "{missing}: {requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_repeated_across_pages_are_returned_once() {
    let rig = rig(333, 5, |rows, of, _| {
        let (start, size) = place(of, 50);
        let start = start.saturating_sub(of.number as usize - 1);
        page(rows, start, size, start + size < rows.len(), Some(rows.len()))
    });
    let question = rig.question();
    let given = soon(rig.rows(question.clone())).await;
    assert_eq!((ids(&given).len(), given.len()), (333, 333));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_consistent_list_costs_no_additional_requests() {
    for (rows, pages) in [(0, 1), (1, 1), (49, 1), (50, 1), (51, 2), (100, 2), (300, 6)] {
        let rig = Rig::new(settings(), 1).with_history(rows, 5);
        rig.script.world().born = Some(NOW.minus(6 * DAY));
        assert_eq!(complete(rig).await, pages, "{rows}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_page_of_one_second_is_read_whatever_its_total_counts() {
    let rig = Rig::new(settings(), 1).with_history(20, 5);
    let second = NOW.minus(DAY).floor_second();
    (0..50).for_each(|n| {
        rig.script.world().insert(second.plus(Duration::from_millis(n)), "completed");
    });
    rig.script.world().quirks.totals = ScriptTotals::OfEverything;
    let question = Question { from: Some(second), to: Some(second.plus(SECOND / 2)), ..rig.question() };
    assert_eq!(soon(rig.rows(question.clone())).await, rig.truth(&question));
    let requests = rig.requests();
    assert!(requests <= 1 + 8, "{requests}");
    rig.close().await;
}
