//! Requests with filters, answered from unfiltered rows that are known.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bent::bent;
use super::script::unavailable;
use super::*;

fn patient() -> EngineSettings {
    EngineSettings {
        live_ttl: 10 * SECOND,
        settling_ttl: 120 * SECOND,
        stale_if_error: 600 * SECOND,
        ..settings()
    }
}

/// So many executions in the last hours that a request for one status is cheaper with upstream's filter.
fn busy(settings: EngineSettings) -> Rig {
    let rig = Rig::new(settings, 1).with_history(2_000, 1);
    fail_some(&rig);
    rig
}

fn fail_some(rig: &Rig) {
    for row in [3, 50, 700, 1_900] {
        rig.script.world().change(row, "failed", NOW.minus(60 * SECOND));
    }
}

fn with(directives: CacheDirectives, question: Question) -> Question {
    Question { directives, ..question }
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_status_are_picked_from_fresh_rows_without_a_request() {
    let rig = busy(patient());
    rig.rows(rig.question()).await;
    rig.requests();
    rig.fail_upstream();
    let directives = CacheDirectives::default();
    for directives in [
        directives,
        CacheDirectives { max_age: Some(5 * SECOND), ..directives },
        CacheDirectives { min_fresh: Some(5 * SECOND), ..directives },
        CacheDirectives { only_if_cached: true, ..directives },
        CacheDirectives { no_store: true, ..directives },
    ] {
        for status in ["failed", "completed", "busy"] {
            let question = with(directives, rig.status(status));
            assert_eq!(rig.rows(question.clone()).await, rig.truth(&question), "{status} {directives:?}");
            assert_eq!(rig.stream(question.clone()).await.unwrap(), rig.truth(&question), "{status}");
            let newest = Question { newest: Some(Newest { skip: 1, take: 2 }), ..question.clone() };
            let rows: Vec<_> = rig.truth(&question).into_iter().skip(1).take(2).collect();
            assert_eq!(rig.rows(newest).await, rows, "{status} {directives:?}");
        }
        let several = with(directives, rig.statuses(&["failed", "busy"]));
        assert_eq!(rig.rows(several.clone()).await, rig.truth(&several));
    }
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_status_that_are_picked_from_fresh_rows_have_their_age() {
    let rig = busy(patient());
    rig.rows(rig.question()).await;
    pass(4 * SECOND).await;
    let verdict = rig.collect(rig.status("failed")).await.unwrap().verdict;
    assert_eq!((verdict.count, verdict.report.stale, verdict.report.upstream_requests), (4, None, 0));
    assert!(verdict.freshness.age >= 4 * SECOND, "{:?}", verdict.freshness);
    assert!(verdict.freshness.lifetime <= 10 * SECOND, "{:?}", verdict.freshness);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_is_requested_from_upstream_once_the_unfiltered_rows_are_too_old() {
    let rig = busy(patient());
    rig.rows(rig.question()).await;
    rig.requests();
    for (wait, status) in [(11, "failed"), (12, "failed"), (13, "busy")] {
        let now = rig.clock.now();
        rig.script.world().change(20 + wait, "failed", now);
        pass(SECOND * wait as u32).await;
        assert_eq!(rig.rows(rig.status(status)).await, rig.truth(&rig.status(status)));
        assert!(rig.requests() > 0);
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_status_are_picked_from_stale_rows_while_upstream_fails() {
    let rig = busy(patient());
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(300 * SECOND).await;
    for status in ["failed", "busy"] {
        let verdict = rig.collect(rig.status(status)).await.unwrap().verdict;
        assert_eq!(verdict.report.stale, Some(StaleReason::UpstreamFailed));
        assert!(verdict.freshness.age >= 300 * SECOND, "{:?}", verdict.freshness);
        assert!(verdict.as_of < NOW.minus(9 * SECOND));
        assert_eq!(rig.rows(rig.status(status)).await, rig.truth(&rig.status(status)));
        assert_eq!(rig.stream(rig.status(status)).await.unwrap(), rig.truth(&rig.status(status)));
    }
    pass(400 * SECOND).await;
    assert!(rig.collect(rig.status("failed")).await.is_err(), "older than stale-if-error");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_status_are_picked_from_stale_rows_within_seconds_while_upstream_hangs() {
    let is_down: Arc<AtomicBool> = Arc::default();
    let down = Arc::clone(&is_down);
    let rig = bent(patient(), |bent| bent.is_down = down).with_history(2_000, 1);
    fail_some(&rig);
    rig.rows(rig.question()).await;
    is_down.store(true, Ordering::Relaxed);
    pass(90 * SECOND).await;
    let began = Instant::now();
    assert_eq!(rig.rows(rig.status("failed")).await, rig.truth(&rig.status("failed")));
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_filtered_response_continues_from_stale_rows_when_upstream_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let fails_too = Arc::clone(&fails);
    let rig = bent(patient(), |bent| {
        bent.before = Box::new(move |subject, page, _| {
            let is_later = subject.filters.status.is_some() && page.number > 1;
            if is_later && fails_too.load(Ordering::Relaxed) {
                Err(unavailable())
            } else {
                Ok(Duration::ZERO)
            }
        });
    })
    .with_history(6_000, 30);
    rig.rows(rig.question()).await;
    fails.store(true, Ordering::Relaxed);
    pass(300 * SECOND).await;
    let question = Question { to: Some(NOW.minus(DAY)), ..rig.status("completed") };
    assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    assert_eq!(rig.stream(question.clone()).await.unwrap(), rig.truth(&question));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_with_max_stale_is_answered_from_unfiltered_rows() {
    let rig = busy(EngineSettings { stale_if_error: Duration::ZERO, ..patient() });
    rig.rows(rig.question()).await;
    rig.requests();
    pass(60 * SECOND).await;
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let refused = rig.collect(with(directives, rig.status("failed"))).await;
    assert!(matches!(refused, Err(AskError::NotCached)));
    let directives = CacheDirectives { max_stale: Some(60 * SECOND), ..directives };
    let question = with(directives, rig.status("failed"));
    assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

/// Sets the provider of every row: one in a hundred is plivo, the others are twilio.
fn with_providers(rig: Rig) -> Rig {
    for (number, row) in rig.script.world().rows.iter_mut().enumerate() {
        row.provider = Some(if number % 100 == 7 { "plivo" } else { "twilio" });
        row.voice_mail = number % 50 == 0;
    }
    rig
}

fn provider(rig: &Rig, name: &str) -> Question {
    let filters = Filters { provider: Some(name.parse().unwrap()), ..Filters::default() };
    Question { filters, ..rig.question() }
}

fn under(question: &Question, filters: impl FnOnce(&mut Filters)) -> Question {
    let mut question = question.clone();
    filters(&mut question.filters);
    question
}

#[tokio::test(start_paused = true)]
async fn made_up_filters_cost_no_request_if_all_rows_are_known() {
    let rig = with_providers(busy(patient()));
    rig.rows(rig.question()).await;
    rig.requests();
    for number in 0..200 {
        let name = format!("made-up-{number}");
        assert!(rig.rows(provider(&rig, &name)).await.is_empty());
        let question = under(&provider(&rig, &name), |filters| filters.status = Some(Status::new("failed")));
        assert!(rig.rows(question).await.is_empty());
    }
    assert_eq!(rig.requests(), 0);
    assert_eq!(rig.engine.scopes(), 1, "nothing is stored for them");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn any_filter_is_applied_to_fresh_rows_that_have_its_facts() {
    let rig = with_providers(busy(patient()));
    rig.rows(rig.question()).await;
    rig.requests();
    let plivo = provider(&rig, "plivo");
    let failed = under(&plivo, |filters| filters.status = Some(Status::new("failed")));
    let machine = under(&rig.question(), |filters| filters.answered_by_voice_mail = Some(true));
    let all = under(&machine, |filters| filters.provider = "twilio".parse().ok());
    let several = Question { any_status: rig.statuses(&["busy", "failed"]).any_status, ..plivo.clone() };
    let recent = Question { from: Some(NOW.minus(DAY / 2)), to: Some(NOW.minus(DAY / 4)), ..plivo.clone() };
    let cached = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    for question in [plivo, failed, machine, all, several, recent] {
        let truth = rig.truth(&question);
        assert_eq!(rig.rows(question.clone()).await, truth, "{:?}", question.filters);
        assert_eq!(rig.stream(question.clone()).await.unwrap(), truth, "{:?}", question.filters);
        assert_eq!(rig.rows(with(cached, question.clone())).await, truth, "{:?}", question.filters);
        let newest = Question { newest: Some(Newest { skip: 1, take: 3 }), ..question };
        assert_eq!(rig.rows(newest).await, truth.into_iter().skip(1).take(3).collect::<Vec<_>>());
    }
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn upstream_decides_if_a_row_lacks_the_fact_that_a_filter_names() {
    let rig = with_providers(busy(patient()));
    rig.script.world().rows[1_500].provider = None;
    rig.rows(rig.question()).await;
    rig.requests();
    let question = provider(&rig, "plivo");
    let rows = rig.rows(question.clone()).await;
    assert_eq!(rows, rig.truth(&question));
    assert_eq!(rows.len(), 21, "upstream also lists the row without a provider");
    assert!(rig.requests() > 0);
    // In this span, every row has a provider.
    let recent = Question { from: Some(NOW.minus(DAY / 2)), ..question };
    assert_eq!(rig.rows(recent.clone()).await, rig.truth(&recent));
    // A row that is known to fail another filter needs no decision.
    let failed = under(&provider(&rig, "twilio"), |filters| filters.status = Some(Status::new("failed")));
    rig.requests();
    assert_eq!(rig.rows(failed.clone()).await, rig.truth(&failed));
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_under_a_changing_filter_are_as_fresh_as_if_upstream_filtered_them() {
    let rig = with_providers(busy(patient()));
    rig.rows(rig.question()).await;
    let question = under(&rig.question(), |filters| filters.answered_by_voice_mail = Some(true));
    for row in [12, 13, 14] {
        rig.rows(rig.question()).await;
        rig.script.world().rows[row].voice_mail = true;
        let now = rig.clock.now();
        rig.script.world().change(row, "completed", now);
        pass(11 * SECOND).await;
        assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn any_filter_is_applied_to_stale_rows_while_upstream_fails() {
    let rig = with_providers(busy(patient()));
    rig.rows(rig.question()).await;
    rig.fail_upstream();
    pass(300 * SECOND).await;
    for name in ["plivo", "made-up"] {
        let question = provider(&rig, name);
        let verdict = rig.collect(question.clone()).await.unwrap().verdict;
        assert_eq!(verdict.report.stale, Some(StaleReason::UpstreamFailed));
        assert_eq!(rig.rows(question.clone()).await, rig.truth(&question));
    }
    rig.script.world().refuse = None;
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_week_under_a_status_is_renewed_together() {
    let settings = EngineSettings { settled_ttl: 300 * SECOND, settle_after: 600 * SECOND, ..patient() };
    let rig = Rig::new(settings, 1).with_history(2_000, 60);
    fail_some(&rig);
    let mut reads = Vec::new();
    let began = Instant::now();
    while began.elapsed() < 3_000 * SECOND {
        rig.rows(rig.status("failed")).await;
        let now = rig.clock.now();
        for (_, page) in std::mem::take(&mut rig.script.world().asked) {
            let age = now.since(page.span.to());
            if began.elapsed() > 600 * SECOND && (30 * SECOND..7 * DAY).contains(&age) {
                reads.push((began.elapsed().as_secs(), page.span));
            }
        }
        tokio::time::sleep(5 * SECOND).await;
    }
    // One read every two minutes, and those for rows that have just become part of the week.
    assert!(reads.len() <= 40, "{} reads in 40 minutes: {reads:?}", reads.len());
    rig.close().await;
}
