//! The first page is requested together with the check of the key.

use futures_util::future::join_all;

use super::bent::Bent;
use super::script::unavailable;
use super::*;

async fn first_rows_after(rig: &Rig, question: Question) -> Duration {
    let (began, mode) = (Instant::now(), ResponseMode::Streamed { row_wait: 50 * SECOND });
    let mut answer = rig.engine.ask(Question { mode, ..question }).await.unwrap();
    assert!(answer.next().await.unwrap().is_some());
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_first_rows_of_a_new_caller_take_one_round_trip() {
    for days in [3, 40] {
        let rig = Rig::new(settings(), 1).with_history(1_000, days);
        let took = first_rows_after(&rig, rig.question()).await;
        assert!(took < rig.script.latency * 3 / 2, "{took:?} for {days} days");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_prefetched_page_costs_no_additional_request() {
    for (rows, days, from, to) in [
        (700, 20, None, None),
        (120, 3, None, None),
        (700, 20, Some(15), Some(4)),
        (120, 3, Some(90), Some(1)),
    ] {
        let mut requests = Vec::new();
        for is_known in [false, true] {
            let rig = Rig::new(settings(), 1).with_history(rows, days);
            let back = |days: Option<u32>| days.map(|days| NOW.minus(days * DAY));
            if is_known {
                // A request in another scope shows that the key is accepted for the agent.
                let elsewhere = Filters { provider: Some("plivo".parse().unwrap()), ..Filters::default() };
                let (from, to) = (back(Some(1)), back(Some(1)));
                rig.rows(Question { filters: elsewhere, from, to, ..rig.question() }).await;
                rig.requests();
            }
            let question = Question { from: back(from), to: back(to), ..rig.question() };
            assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
            requests.push(rig.requests());
            rig.close().await;
        }
        assert_eq!(requests[0], requests[1], "{rows} rows over {days} days");
    }
}

#[tokio::test(start_paused = true)]
async fn simultaneous_callers_share_the_prefetched_page() {
    let rig = Rig::new(settings(), 1).with_history(40, 2);
    let answers = join_all((0..50).map(|_| rig.rows(rig.question()))).await;
    assert!(answers.iter().all(|rows| rows.len() == 40));
    assert_eq!(rig.requests(), 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_later_caller_does_not_share_a_page_that_is_too_old_for_it() {
    let mut bent = Bent::default();
    bent.check = 5 * SECOND;
    let rig = Rig::of(settings(), 1, bent, None).with_history(40, 2);
    let row = rig.script.world().insert(NOW.minus(SECOND), "queued");
    let later = async {
        tokio::time::sleep(3 * SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        tokio::time::sleep(SECOND).await;
        rig.rows(rig.question()).await
    };
    let (_, rows) = tokio::join!(rig.rows(rig.question()), later);
    assert_eq!(rows, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_costs_at_most_one_page_and_gets_no_rows() {
    let rig = Rig::new(settings(), 1).with_history(700, 20);
    rig.script.world().agent_refused = Some(403);
    for _ in 0..5 {
        let refused = rig.collect(rig.question()).await;
        assert!(matches!(refused, Err(AskError::Source(crate::source::SourceError::Denied(_)))));
    }
    assert_eq!(rig.script.world().checks, 1);
    assert!(rig.requests() <= 1);
    assert_eq!(rig.engine.scopes(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_prefetch_is_requested_again() {
    let rig = Rig::new(settings(), 1).with_history(700, 6);
    rig.script.world().refuse = Some(Box::new(|number| (number == 1).then(unavailable)));
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_prefetched_page_is_not_used_if_upstreams_clock_turns_out_to_differ() {
    let rig = Rig::new(settings(), 1).with_history(40, 2);
    rig.script.world().quirks.ahead = 60_000_000;
    let late = rig.script.now().minus(20 * SECOND);
    rig.script.world().insert(late, "completed");
    let learn = async {
        tokio::time::sleep(rig.script.latency / 2).await;
        rig.script.learn_clock();
    };
    let (rows, ()) = tokio::join!(rig.rows(rig.question()), learn);
    assert_eq!(rows, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_prefetched_page_with_rows_older_than_the_agent_does_not_cover_the_span() {
    let rig = Rig::new(settings(), 1).with_history(60, 6);
    rig.script.world().born = Some(NOW.minus(2 * DAY));
    let rows = rig.rows(rig.question()).await;
    // The agent's date may be in another time zone.
    let zones = 14 * 3_600 * SECOND;
    let whole = Question { from: Some(NOW.minus(2 * DAY + zones).floor_second()), ..rig.question() };
    assert_eq!(rows, rig.truth(&whole));
    rig.close().await;
}
