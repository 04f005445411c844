//! Requests for some of the newest rows: pages and `limit`.

mod limits;

use super::bent::bent;
use super::*;
use crate::source::SourceError;

/// A history of 30,000 rows in six days: 600 of upstream's pages.
fn large(settings: EngineSettings) -> Rig {
    Rig::new(settings, 1).with_history(30_000, 6)
}

/// Settings with which rows stay fresh throughout a test.
fn unhurried() -> EngineSettings {
    EngineSettings { live_ttl: 600 * SECOND, settling_ttl: 600 * SECOND, ..settings() }
}

impl Rig {
    /// The rows of an answer, and the total if it is known.
    async fn part(&self, question: Question) -> (Vec<(String, u32)>, Option<u64>) {
        let Collected { slices, verdict, .. } = self.collect(question).await.unwrap();
        let rows: Vec<_> = slices.iter().flat_map(rows).collect();
        assert_eq!(rows.len() as u64, verdict.count);
        (rows, verdict.total)
    }

    /// Requests a page; also returns how many requests it cost.
    async fn page(&self, number: u64, size: u64) -> (Vec<(String, u32)>, Option<u64>, usize) {
        self.requests();
        let (rows, total) = self.part(self.newest((number - 1) * size, size)).await;
        (rows, total, self.requests())
    }

    /// The rows at these positions of the list.
    fn truth_of(&self, numbers: std::ops::Range<usize>) -> Vec<(String, u32)> {
        let truth = self.truth(&self.question());
        truth[numbers.start.min(truth.len())..numbers.end.min(truth.len())].to_vec()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_page_of_a_large_history_costs_two_requests() {
    let rig = large(unhurried());
    let began = Instant::now();
    let (page, total, requests) = rig.page(1, 50).await;
    assert_eq!((page, total, requests), (rig.truth_of(0..50), None, 2));
    assert!(began.elapsed() < SECOND / 10, "{:?}", began.elapsed());
    assert_eq!(rig.page(1, 50).await.2, 0, "the page is known then");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_third_page_costs_four_requests() {
    let rig = large(unhurried());
    assert_eq!(rig.page(3, 50).await, (rig.truth_of(100..150), None, 4));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_a_page_counts_all_the_requests_that_it_needs() {
    let no_room = || SourceError::RateLimited { retry_after: SECOND, upstream: None };
    let rig = bent(unhurried(), |bent| {
        bent.before =
            Box::new(move |_, _, number| if number < 3 { Ok(Duration::ZERO) } else { Err(no_room()) });
    });
    let rig = rig.with_history(3_000, 6);
    rig.script.world().a_request_takes = 5 * SECOND;
    rig.page(1, 50).await;
    let refused = rig.collect(rig.newest(150, 50)).await.unwrap_err();
    let AskError::Source(SourceError::RateLimited { retry_after, .. }) = refused else { panic!("{refused}") };
    assert!(retry_after >= 10 * SECOND, "{retry_after:?}: more than two pages are missing");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn pages_that_arrive_out_of_order_count_in_the_order_requested() {
    for seed in 0..20 {
        let rig = Rig::new(unhurried(), seed).with_history(3_000, 6);
        rig.script.world().quirks.jitter = Duration::from_millis(200);
        assert_eq!(rig.page(6, 50).await, (rig.truth_of(250..300), None, 7), "{seed}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_page_of_a_large_history_costs_one_walk_and_knows_the_total() {
    let rig = Rig::new(unhurried(), 1).with_history(6_000, 6);
    assert_eq!(rig.page(120, 50).await, (rig.truth_of(5_950..6_000), Some(6_000), 120));
    assert!(rig.script.world().most_in_flight > 4, "several at once");
    assert_eq!(rig.page(121, 50).await, (Vec::new(), Some(6_000), 0));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn pages_of_twenty_share_upstreams_pages_of_fifty() {
    let rig = large(unhurried());
    let mut costs = Vec::new();
    for number in 1..=10 {
        let (page, _, requests) = rig.page(number, 20).await;
        assert_eq!(page, rig.truth_of((number as usize - 1) * 20..number as usize * 20));
        costs.push(requests);
    }
    assert_eq!(costs.iter().sum::<usize>(), 5, "{costs:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_quiet_history_have_every_row_once() {
    let rig = Rig::new(unhurried(), 1).with_history(2_003, 40);
    let (mut all, mut number) = (Vec::new(), 1);
    let total = loop {
        let (page, total) = rig.part(rig.newest((number - 1) * 50, 50)).await;
        all.extend(page);
        if total.is_some() {
            break total;
        }
        number += 1;
    };
    assert_eq!((all, total, number), (rig.truth(&rig.question()), Some(2_003), 41));
    let requests = rig.requests();
    assert!(requests <= 41 * 12 / 10, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_hundred_cost_three_requests_collected_and_streamed() {
    let rig = large(unhurried());
    let (rows, total) = rig.part(rig.newest(0, 100)).await;
    assert_eq!((rows, total, rig.requests()), (rig.truth_of(0..100), None, 3));
    rig.close().await;

    let rig = large(unhurried());
    let rows = rig.stream(rig.newest(0, 100)).await.unwrap();
    assert_eq!((rows, rig.requests()), (rig.truth_of(0..100), 3));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_above_the_number_of_rows_changes_nothing() {
    let rig = Rig::new(settings(), 1).with_history(300, 20);
    let all = rig.collect(rig.question()).await.unwrap().verdict;
    for limit in [300, 301, 1_000_000] {
        let limited = rig.collect(rig.newest(0, limit)).await.unwrap().verdict;
        assert_eq!((limited.digest, limited.count, limited.total), (all.digest, 300, Some(300)));
    }
    let limited = rig.collect(rig.newest(0, 299)).await.unwrap().verdict;
    assert_eq!((limited.count, limited.total), (299, None));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_week_costs_one_request_and_nothing_below_is_read() {
    let rig = Rig::new(unhurried(), 1);
    {
        let mut world = rig.script.world();
        for (days, count) in [(24, 30), (31, 30), (45, 500)] {
            for row in 0..count {
                world.insert(NOW.minus(days * DAY).minus(row * 60 * SECOND), "completed");
            }
        }
    }
    assert_eq!(rig.page(1, 50).await, (rig.truth_of(0..50), None, 5), "three empty weeks, and two others");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_history_with_fewer_rows_than_wanted_is_read_to_its_end() {
    let rig = Rig::new(unhurried(), 1).with_history(30, 30);
    assert_eq!(rig.page(1, 50).await, (rig.truth_of(0..30), Some(30), 5));
    assert_eq!(rig.page(2, 50).await, (Vec::new(), Some(30), 0));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_for_the_newest_rows_is_answered_from_the_cache() {
    let rig = large(unhurried());
    let first = rig.collect(rig.newest(0, 100)).await.unwrap().verdict;
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    for question in [rig.newest(0, 100), Question { mode, ..rig.newest(0, 100) }] {
        let answer = rig.engine.ask(question).await.unwrap();
        let known = answer.from_cache().unwrap();
        assert_eq!((known.digest, known.count, known.total), (first.digest, 100, None));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_of_the_newest_rows_costs_one_request_for_the_head() {
    let rig = large(EngineSettings { settling_ttl: 600 * SECOND, ..settings() });
    rig.page(1, 50).await;
    for new in 0..5 {
        pass(30 * SECOND).await;
        for row in 0..new {
            rig.script.world().insert(rig.clock.now().minus(20 * SECOND).plus(row * SECOND), "completed");
        }
        assert_eq!(rig.page(1, 50).await, (rig.truth_of(0..50), None, 1), "{new} new rows");
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_added_between_two_pages_repeat_some_and_lose_none() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    let before = rig.truth(&rig.question());
    let (mut seen, mut number) = (HashSet::new(), 1);
    loop {
        let (page, total) = rig.part(rig.newest((number - 1) * 50, 50)).await;
        seen.extend(page);
        if total.is_some() {
            break;
        }
        number += 1;
        pass(2 * SECOND).await;
        for row in 0..3 {
            rig.script.world().insert(rig.clock.now().minus(row * SECOND / 4), "completed");
        }
    }
    assert!(before.iter().all(|row| seen.contains(row)));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_added_while_a_page_is_read_are_on_the_next() {
    let rig = large(settings());
    let mut left = 3;
    rig.script.world().before_page = Some(Box::new(move |world, now| {
        if left > 0 {
            left -= 1;
            world.insert(now.minus(SECOND / 100), "completed");
        }
    }));
    let (page, total, _) = rig.page(1, 50).await;
    assert_eq!((page.len(), total), (50, None));
    pass(2 * SECOND).await;
    assert_eq!(rig.page(1, 50).await.0, rig.truth_of(0..50));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_deleted_between_two_polls_is_replaced_by_the_next_older_one() {
    let rig = large(EngineSettings { settling_ttl: SECOND, ..settings() });
    rig.page(1, 50).await;
    rig.script.world().rows.remove(10);
    pass(30 * SECOND).await;
    let (page, _, requests) = rig.page(1, 50).await;
    assert_eq!(page, rig.truth_of(0..50));
    assert!(requests <= 3, "{requests}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn simultaneous_requests_for_a_page_share_its_reads() {
    let rig = large(unhurried());
    let pages = futures_util::future::join_all((0..20).map(|_| rig.part(rig.newest(0, 50)))).await;
    assert!(pages.iter().all(|(page, _)| *page == rig.truth_of(0..50)));
    assert_eq!(rig.requests(), 2);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_taken_from_a_read_of_everything_does_not_end_it() {
    let rig = Rig::new(unhurried(), 1).with_history(3_000, 6);
    let all = async { rig.rows(rig.question()).await.len() };
    let page = async {
        tokio::time::sleep(SECOND / 20).await;
        rig.part(rig.newest(50, 50)).await.0
    };
    let (all, page) = tokio::join!(all, page);
    assert_eq!((all, page), (3_000, rig.truth_of(50..100)));
    let requests = rig.requests();
    assert!(requests <= 62, "{requests}");
    rig.close().await;
}
