//! Faults that a review found: each test says what must be true.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::script::{Compare, Listed, Totals, unavailable, words};
use super::*;
use crate::domain::{AgentFacts, Page, PageOf};
use crate::source::{RelayedPage, SourceError, Subject, Turn};

type Before = Box<dyn Fn(&Subject, PageOf, u64) -> Result<Duration, SourceError> + Send + Sync>;
type Served = Box<dyn Fn(PageOf) + Send + Sync>;
type After = Box<dyn Fn(&mut Page) + Send + Sync>;

/// The script, bent: before a page (refuse or delay it), when it is about to be served, and after.
struct Bent {
    script: Arc<Script>,
    number: AtomicU64,
    before: Before,
    served: Served,
    after: After,
    /// How long an answer is on its way back.
    back: Before,
    /// While true, everything fails after as long as the turn allows retries, as the real source does.
    is_down: Arc<AtomicBool>,
    /// Agent checks take so long.
    check: Duration,
}

impl Bent {
    fn page_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    async fn down<T>(&self, turn: &Turn) -> Option<Result<T, SourceError>> {
        if !self.is_down.load(Ordering::Relaxed) {
            return None;
        }
        tokio::time::sleep(turn.retry_for).await;
        Some(Err(unavailable()))
    }
}

impl Source for Bent {
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<Page, SourceError>> {
        Box::pin(async move {
            if let Some(failed) = self.down(turn).await {
                return failed;
            }
            let number = self.page_number();
            let delay = (self.before)(subject, page, number)?;
            let back = (self.back)(subject, page, number)?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            (self.served)(page);
            let mut page = self.script.page(subject, page, turn).await?;
            if !back.is_zero() {
                tokio::time::sleep(back).await;
            }
            (self.after)(&mut page);
            Ok(page)
        })
    }

    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<AgentFacts, SourceError>> {
        Box::pin(async move {
            if let Some(failed) = self.down(turn).await {
                return failed;
            }
            let left = turn.deadline.as_ref().map_or(DAY, |d| d.instant() - Instant::now());
            if left < self.check {
                tokio::time::sleep(left).await;
                return Err(SourceError::TimedOut);
            }
            tokio::time::sleep(self.check).await;
            self.script.agent(credential, agent, turn).await
        })
    }

    fn relay<'a>(
        &'a self,
        _: &'a Credential,
        _: AgentId,
        _: &'a str,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<RelayedPage, SourceError>> {
        Box::pin(async move {
            if let Some(failed) = self.down(turn).await {
                return failed;
            }
            let page = Page { rows: Vec::new(), has_more: false, total: None };
            Ok(RelayedPage { body: "{}".into(), page: Some(page) })
        })
    }

    fn clock_ahead_micros(&self) -> i64 {
        self.script.clock_ahead_micros()
    }
}

fn bent(settings: EngineSettings, bend: impl FnOnce(&mut Bent)) -> Rig {
    let clock = Clock::showing(NOW);
    let script = Arc::new(Script::new(clock.clone(), 9));
    let (store, shutdown) = (Arc::new(Shelf::default()), Shutdown::default());
    let mut source = Bent {
        script: Arc::clone(&script),
        number: AtomicU64::new(0),
        before: Box::new(|_, _, _| Ok(Duration::ZERO)),
        served: Box::new(|_| {}),
        after: Box::new(|_| {}),
        back: Box::new(|_, _, _| Ok(Duration::ZERO)),
        is_down: Arc::default(),
        check: Duration::ZERO,
    };
    bend(&mut source);
    let engine =
        Engine::new(settings, Arc::new(source), Arc::clone(&store) as _, clock.clone(), shutdown.clone());
    Rig { engine, script, store, clock, shutdown }
}

fn ids(rows: &[(String, u32)]) -> HashSet<String> {
    rows.iter().map(|(id, _)| id.clone()).collect()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(1_000 * SECOND, work).await.expect("it ends")
}

fn streamed(question: Question) -> Question {
    Question { pace: Pace::Streamed { row_wait: 50 * SECOND }, ..question }
}

// ------------------------------------------------------------------------------------------------ hangs

#[tokio::test(start_paused = true)]
async fn a_stream_of_the_lower_part_of_a_reading_does_not_wait_for_a_slow_one_above() {
    let rig = Rig::new(settings(), 1).with_history(1_000, 5);
    let first = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let lower = Question { to: Some(NOW.minus(4 * DAY)), ..rig.question() };
    assert_eq!(soon(rig.stream(lower.clone())).await.unwrap(), rig.truth(&lower));
    drop(first);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_the_lower_part_of_a_reading_goes_on_when_the_slow_one_above_is_cut_off() {
    let rig = Rig::new(settings(), 1).with_history(2_000, 5);
    let first = rig.engine.ask(streamed(rig.question())).await.unwrap();
    let lower = Question { to: Some(NOW.minus(4 * DAY)), ..rig.question() };
    let leaving = async {
        tokio::time::sleep(60 * SECOND).await;
        drop(first);
    };
    let (rows, ()) = soon(async { tokio::join!(rig.stream(lower.clone()), leaving) }).await;
    assert_eq!(rows.unwrap(), rig.truth(&lower));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_stream_goes_on_after_parts_that_failed() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 100);
    rig.script.world().refuse = Some(Box::new(|number| (number <= 8).then(unavailable)));
    let lenient = Question { tolerance: Tolerance::Lenient, ..rig.question() };
    let rows = soon(rig.stream(lenient)).await.unwrap();
    assert!(rows.len() > 500 && rows.len() < 1_500, "{}", rows.len());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_whose_entries_go_ends() {
    let rig =
        Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    rig.script.world().refuse = Some(Box::new(|_| Some(unavailable())));
    pass(30 * SECOND).await;
    let mut answer = rig.engine.ask(streamed(rig.question())).await.unwrap();
    rig.store.0.lock().unwrap().clear();
    rig.requests();
    let end =
        tokio::time::timeout(600 * SECOND, async { while let Ok(Some(_)) = answer.next().await {} }).await;
    let requests = rig.requests();
    assert!(end.is_ok(), "still asking after {requests} requests");
    drop(answer);
    rig.close().await;
}

// ------------------------------------------------------------------------------------------------ lost rows

#[tokio::test(start_paused = true)]
async fn a_row_dated_outside_its_window_hides_no_history() {
    let rig = bent(settings(), |bent| {
        bent.after = Box::new(|page| {
            for row in page.rows.iter_mut().filter(|row| &*row.id == "row-000005") {
                row.created_at = Some(NOW.minus(15 * DAY));
            }
        });
    })
    .with_history(1_500, 100);
    let recent = Question { from: Some(NOW.minus(3 * DAY)), ..rig.question() };
    let _seen = soon(rig.collect(recent)).await;
    let answer = soon(rig.collect(rig.question())).await;
    match answer {
        Ok(answer) => {
            let rows: Vec<_> = answer.slices.iter().flat_map(rows).collect();
            let truth = rig.truth(&rig.question());
            assert!(rows.len() >= truth.len() - 1, "{} of {} and 'complete'", rows.len(), truth.len());
        }
        Err(error) => assert!(matches!(error, AskError::Inconsistent { .. }), "{error}"),
    }
    rig.close().await;
}

/// Sixty calls made five days ago, one after the other, ran just now, in the same order: "sorted by last run".
fn a_batch_ran_just_now(rig: &Rig) {
    let mut world = rig.script.world();
    for row in 400..460 {
        world.change(row, "completed", NOW.minus((row as u32 - 399) * SECOND / 10));
    }
    world.quirks.listed = Listed::ByUpdate;
}

#[tokio::test(start_paused = true)]
async fn a_list_by_last_run_without_totals_loses_nothing() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 20);
    a_batch_ran_just_now(&rig);
    rig.script.world().quirks.totals = Totals::Missing;
    let rows = soon(rig.rows(rig.question())).await;
    assert_eq!(rows.len(), rig.truth(&rig.question()).len());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_walk_over_a_list_by_last_run_claims_nothing() {
    let rig = Rig::new(settings(), 1).with_history(1_500, 20);
    a_batch_ran_just_now(&rig);
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

#[tokio::test(start_paused = true)]
async fn a_row_without_a_date_stays() {
    let rig = bent(settings(), |bent| {
        bent.after = Box::new(|page| {
            for row in page.rows.iter_mut().filter(|row| &*row.id == "row-000105") {
                row.created_at = None;
            }
        });
    })
    .with_history(400, 20);
    for _ in 0..4 {
        assert_eq!(ids(&rig.rows(rig.question()).await).len(), 400);
        pass(5 * SECOND).await;
    }
    rig.close().await;
}

// ------------------------------------------------------------------------------------------------ refusals

#[tokio::test(start_paused = true)]
async fn a_status_that_upstream_takes_for_no_filter_fails_no_question() {
    let rig = bent(settings(), |bent| {
        bent.before = Box::new(|subject, _, _| {
            match subject.filters.status.as_ref().map(|status| status.as_str() == "prepared") {
                Some(true) => Err(SourceError::Refused(words(422))),
                Some(false) | None => Ok(Duration::ZERO),
            }
        });
    })
    .with_history(3_000, 60);
    (1..8).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * 2 * DAY), "prepared");
    });
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    let again = rig.collect(rig.question()).await;
    assert!(again.is_ok(), "{}", again.unwrap_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_that_came_when_its_asker_had_left_does_not_hold_for_ever() {
    let settings = EngineSettings { live_ttl: 6_000 * SECOND, settling_ttl: 6_000 * SECOND, ..settings() };
    let rig = Rig::new(settings, 1).with_history(100, 2);
    let left = tokio::time::timeout(Duration::from_millis(5), rig.collect(rig.question())).await;
    assert!(left.is_err());
    tokio::time::sleep(SECOND).await;
    assert_eq!(rig.rows(rig.question()).await.len(), 100);
    rig.script.world().agent_refused = Some(403);
    pass(4_000 * SECOND).await;
    let answer = rig.collect(rig.question()).await;
    assert!(answer.is_err(), "{} rows for a key refused an hour ago", answer.unwrap().verdict.count);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stray_refusal_for_one_agent_empties_nothing_of_another() {
    let rig = Rig::new(settings(), 1).with_history(100, 2);
    rig.rows(rig.question()).await;
    rig.script.world().agent_refused = Some(403);
    let other = Question { agent: AgentId::new(Uuid::from_u128(8)), ..rig.question() };
    assert!(rig.collect(other).await.is_err());
    rig.script.world().agent_refused = None;
    assert!(!rig.store.0.lock().unwrap().is_empty());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_joined_by_a_patient_caller_does_not_fail_with_the_first_ones_deadline() {
    let rig = bent(settings(), |bent| bent.check = SECOND).with_history(100, 2);
    let pace = Pace::Collected { deadline: Instant::now() + SECOND / 2 };
    let hasty = rig.collect(Question { pace, ..rig.question() });
    let (hasty, patient) = tokio::join!(hasty, rig.collect(rig.question()));
    assert!(hasty.is_err());
    assert!(patient.is_ok(), "{}", patient.unwrap_err());
    rig.close().await;
}

// ------------------------------------------------------------------------------------------------ stale answers

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_not_called_fresh() {
    let rig =
        Rig::new(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, 1).with_history(1_000, 20);
    rig.rows(rig.question()).await;
    rig.script.world().refuse = Some(Box::new(|_| Some(unavailable())));
    pass(300 * SECOND).await;
    let verdict = rig.collect(rig.question()).await.unwrap().verdict;
    assert_eq!(verdict.report.stale, Some(StaleReason::UpstreamFailed));
    let freshness = verdict.freshness;
    assert!(freshness.lifetime < freshness.age, "{freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_renewed_behind_is_not_called_fresh() {
    let rig = Rig::new(EngineSettings { stale_while_revalidate: 600 * SECOND, ..settings() }, 1)
        .with_history(1_000, 20);
    rig.rows(rig.question()).await;
    pass(300 * SECOND).await;
    let freshness = rig.collect(rig.question()).await.unwrap().verdict.freshness;
    assert!(freshness.lifetime < freshness.age, "{freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_left_for_later_questions_show_in_the_age() {
    let rig = Rig::new(settings(), 1).with_history(6_000, 300);
    // Stuck in many words, so that neither probes nor readings reach all of them.
    for n in 1..40 {
        rig.script.world().insert(NOW.minus(n * 7 * DAY), &format!("stuck-{n}"));
    }
    rig.rows(rig.question()).await;
    pass(600 * SECOND).await;
    let answer = rig.collect(rig.question()).await.unwrap();
    let now = rig.clock.now();
    let oldest = answer
        .slices
        .iter()
        .flat_map(|slice| slice.rows())
        .filter(|row| row.status.as_ref().is_some_and(|status| status.as_str().starts_with("stuck")))
        .map(|row| now.since(row.read_at))
        .max()
        .unwrap();
    let freshness = answer.verdict.freshness;
    assert!(oldest < 10 * SECOND || freshness.lifetime < freshness.age, "{oldest:?} but {freshness:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn max_stale_holds_for_rows_that_may_have_entered() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    let row = rig.script.world().insert(NOW.minus(3 * DAY), "in-progress");
    let wish = Wish { max_stale: Some(60 * SECOND), ..Wish::default() };
    let question = || Question { to: Some(NOW.minus(DAY)), wish, ..rig.status("queued") };
    assert_eq!(rig.rows(question()).await.len(), 0);
    pass(3_600 * SECOND).await;
    rig.script.world().change(row, "queued", rig.clock.now());
    pass(3_600 * SECOND).await;
    assert_eq!(rig.rows(question()).await, rig.truth(&question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn min_fresh_reads_what_expires_too_soon() {
    let rig = Rig::new(EngineSettings { live_ttl: 10 * SECOND, settling_ttl: 10 * SECOND, ..settings() }, 1)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    pass(6 * SECOND).await;
    rig.requests();
    let wish = Wish { min_fresh: Some(8 * SECOND), ..Wish::default() };
    rig.rows(Question { wish, ..rig.question() }).await;
    assert!(rig.requests() > 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_left_its_status_while_upstream_failed_stays_for_the_stale_answer() {
    let fails = Arc::new(AtomicBool::new(false));
    let fails_too = Arc::clone(&fails);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.before = Box::new(move |subject, _, _| {
            if fails_too.load(Ordering::Relaxed) && subject.filters.status.is_none() {
                Err(unavailable())
            } else {
                Ok(Duration::ZERO)
            }
        });
    })
    .with_history(3_000, 60);
    let stuck: Vec<usize> =
        (1..20).map(|n| rig.script.world().insert(NOW.minus(n * 2 * DAY), "in-progress")).collect();
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    rig.script.world().change(stuck[5], "completed", rig.clock.now());
    fails.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let answer = rig.collect(rig.question()).await;
        assert!(answer.is_ok(), "{}", answer.unwrap_err());
        pass(SECOND).await;
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_does_not_wait_for_the_check_of_the_key() {
    let is_down: Arc<AtomicBool> = Arc::default();
    let down = Arc::clone(&is_down);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| bent.is_down = down)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    is_down.store(true, Ordering::Relaxed);
    pass(90 * SECOND).await;
    let began = Instant::now();
    let answer = rig.collect(rig.question()).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    rig.close().await;
}

fn relay_question(rig: &Rig) -> RelayQuestion {
    let question = rig.question();
    RelayQuestion {
        credential: question.credential,
        agent: question.agent,
        query: "page_size=50".to_owned(),
        canonical_query: "page_size=50".to_owned(),
        wish: Wish::default(),
        deadline: Instant::now() + 50 * SECOND,
        trace: Trace::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_relayed_page_is_given_stale_while_upstream_fails() {
    let is_down: Arc<AtomicBool> = Arc::default();
    let down = Arc::clone(&is_down);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| bent.is_down = down)
        .with_history(400, 20);
    rig.rows(rig.question()).await;
    rig.engine.relay(relay_question(&rig)).await.unwrap();
    is_down.store(true, Ordering::Relaxed);
    pass(20 * SECOND).await;
    let began = Instant::now();
    let answer = rig.engine.relay(relay_question(&rig)).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn as_of_of_an_answer_that_fell_back_holds() {
    let fails = Arc::new(AtomicBool::new(false));
    let fails_too = Arc::clone(&fails);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.before = Box::new(move |_, page, _| {
            if fails_too.load(Ordering::Relaxed) && page.number > 1 {
                Err(unavailable())
            } else {
                Ok(Duration::ZERO)
            }
        });
    })
    .with_history(400, 20);
    // Calls every quarter of a second in the last ten seconds before the first look.
    (0..40).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * SECOND / 4), "completed");
    });
    let late = rig.script.world().insert(NOW.minus(9 * SECOND), "completed");
    rig.script.world().rows[late].shown_at = NOW.plus(SECOND / 2);
    rig.rows(rig.question()).await;
    pass(15 * SECOND).await;
    let now = rig.clock.now();
    (0..30).for_each(|n| {
        rig.script.world().insert(now.minus(n * SECOND / 4), "completed");
    });
    fails.store(true, Ordering::Relaxed);
    let answer = rig.collect(rig.question()).await.unwrap();
    let given = ids(&answer.slices.iter().flat_map(rows).collect::<Vec<_>>());
    let as_of = answer.verdict.as_of;
    let world = rig.script.world();
    let lost = world.rows.iter().filter(|row| row.created_at <= as_of && !given.contains(&row.id));
    let lost: Vec<_> = lost.map(|row| &row.id).collect();
    assert!(lost.is_empty(), "{lost:?} before {as_of}");
}

// ------------------------------------------------------------------------------------------------ freshness and cost

/// Runs a test that may spin without ever yielding: no clock of tokio's ends that.
fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test());
        let _told = say.send(());
    });
    hear.recv_timeout(Duration::from_secs(10)).expect("it ends, and well");
}

/// Pages after the second take so long.
fn with_slow_pages(settings: EngineSettings, slow: &Arc<AtomicBool>) -> Rig {
    let slow = Arc::clone(slow);
    bent(settings, |bent| {
        bent.before = Box::new(move |_, page, _| {
            let is_slow = page.number > 2 && slow.load(Ordering::Relaxed);
            Ok(if is_slow { 40 * SECOND } else { Duration::ZERO })
        });
    })
}

#[test]
fn a_question_about_the_passed_part_of_a_reading_does_not_spin() {
    on_a_thread(|| async {
        let rig = with_slow_pages(settings(), &Arc::new(AtomicBool::new(true))).with_history(400, 2);
        let wish = Wish { no_store: true, ..Wish::default() };
        let first = rig.rows(Question { wish, ..rig.question() });
        let second = async {
            tokio::time::sleep(SECOND / 2).await;
            let top = Question { from: Some(NOW.minus(DAY / 10)), ..rig.question() };
            assert_eq!(rig.rows(top.clone()).await, rig.truth(&top));
        };
        tokio::join!(first, second);
        rig.close().await;
    });
}

#[test]
fn a_question_about_rows_that_came_due_while_their_reading_goes_on_reads_them() {
    on_a_thread(|| async {
        let slow = Arc::new(AtomicBool::new(true));
        let rig = with_slow_pages(EngineSettings { settling_ttl: 100 * SECOND, ..settings() }, &slow)
            .with_history(400, 2);
        let at = NOW.minus(DAY);
        let row = rig.script.world().insert(at, "in-progress");
        rig.script.world().change(row, "in-progress", NOW);
        let question = Question { to: Some(at.plus(10 * SECOND)), ..rig.question() };
        let first = rig.rows(question.clone());
        let second = async {
            tokio::time::sleep(5 * SECOND).await;
            slow.store(false, Ordering::Relaxed);
            rig.script.world().change(row, "completed", rig.clock.now());
            tokio::time::sleep(20 * SECOND).await;
            let narrow = Question { from: Some(at.minus(SECOND)), ..question.clone() };
            assert_eq!(rig.rows(narrow.clone()).await, rig.truth(&narrow));
        };
        tokio::join!(first, second);
        rig.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_quiet_history_is_renewed_once() {
    let rig = Rig::new(EngineSettings { settled_ttl: 1_000 * SECOND, ..settings() }, 1);
    (1..30).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * 10 * DAY), "completed");
    });
    rig.rows(rig.question()).await;
    pass(1_300 * SECOND).await;
    let mut requests = Vec::new();
    for _ in 0..12 {
        rig.requests();
        rig.rows(rig.question()).await;
        tokio::time::sleep(5 * SECOND).await;
        requests.push(rig.requests());
    }
    assert!(requests.iter().skip(8).all(|count| *count <= 1), "{requests:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn asking_again_at_once_under_a_status_costs_nothing() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    (1..6).for_each(|n| {
        rig.script.world().insert(NOW.minus(n * 2 * DAY), "in-progress");
    });
    rig.rows(rig.status("in-progress")).await;
    pass(15 * SECOND).await;
    rig.rows(rig.status("in-progress")).await;
    rig.requests();
    rig.rows(rig.status("in-progress")).await;
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_holds_nothing_that_nobody_points_at() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    // Read again alone, it is joined with the rows above it and with those below.
    rig.script.world().insert(NOW.minus(5 * DAY), "in-progress");
    for _ in 0..20 {
        rig.rows(rig.question()).await;
        pass(15 * SECOND).await;
        rig.script.world().insert(rig.clock.now().minus(2 * SECOND), "completed");
    }
    let question = rig.question();
    let subject =
        Subject { credential: question.credential, agent: question.agent, filters: question.filters };
    let scope = rig.engine.inner.scopes.find(&subject).unwrap();
    let unused = rig.store.0.lock().unwrap().keys().filter(|key| !scope.lock().coverage.uses(key)).count();
    assert_eq!(unused, 0, "of {}", rig.store.0.lock().unwrap().len());
    rig.close().await;
}

// ------------------------------------------------------------------------------------------------ true today, and untested until now

#[tokio::test(start_paused = true)]
async fn a_short_page_before_the_last_breaks_a_walk() {
    let is_first = AtomicBool::new(true);
    let rig = bent(settings(), |bent| {
        bent.after = Box::new(move |page| {
            let is_second = page.rows.iter().any(|row| &*row.id == "row-000080");
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
async fn old_stuck_rows_of_one_week_that_finish_are_seen() {
    let rig = Rig::new(settings(), 3).with_history(3_000, 60);
    let stuck: Vec<usize> =
        (1..30).map(|n| rig.script.world().insert(NOW.minus(n * 2 * DAY), "in-progress")).collect();
    rig.rows(rig.question()).await;
    pass(3 * SECOND).await;
    for row in &stuck[10..14] {
        rig.script.world().change(*row, "completed", rig.clock.now());
    }
    for _ in 0..4 {
        rig.rows(rig.question()).await;
        pass(3 * SECOND).await;
    }
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_later_stays_when_an_older_reading_lands() {
    let late = Arc::new(AtomicBool::new(false));
    let late_too = Arc::clone(&late);
    let rig = bent(settings(), |bent| {
        bent.back = Box::new(move |_, _, _| {
            Ok(if late_too.swap(false, Ordering::Relaxed) { SECOND * 5 / 2 } else { Duration::ZERO })
        });
    })
    .with_history(100, 2);
    let row = rig.script.world().insert(NOW.minus(30 * SECOND), "in-progress");
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    late.store(true, Ordering::Relaxed);
    let first = rig.rows(rig.question());
    let then = async {
        tokio::time::sleep(SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        tokio::time::sleep(SECOND).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
        rig.requests();
        tokio::time::sleep(SECOND * 7 / 10).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
        assert_eq!(rig.requests(), 0);
    };
    tokio::join!(first, then);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn joins_no_reading_begun_before_its_freshness_allows() {
    let late = Arc::new(AtomicBool::new(false));
    let late_too = Arc::clone(&late);
    let rig = bent(settings(), |bent| {
        bent.back = Box::new(move |_, _, _| {
            Ok(if late_too.swap(false, Ordering::Relaxed) { 10 * SECOND } else { Duration::ZERO })
        });
    })
    .with_history(100, 2);
    let row = rig.script.world().insert(NOW.minus(30 * SECOND), "in-progress");
    rig.rows(rig.question()).await;
    pass(20 * SECOND).await;
    late.store(true, Ordering::Relaxed);
    let first = rig.rows(rig.question());
    let then = async {
        tokio::time::sleep(SECOND).await;
        rig.script.world().change(row, "completed", rig.clock.now());
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    };
    tokio::join!(first, then);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_deleted_during_a_walk_without_dates_and_totals_hides_no_other() {
    let rig = Rig::new(EngineSettings { window: None, ..settings() }, 1).with_history(500, 5);
    {
        let mut world = rig.script.world();
        (world.quirks.compare, world.quirks.totals) = (Compare::Ignored, Totals::Missing);
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
