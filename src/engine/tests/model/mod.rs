//! The whole read path against a plain list: random histories, questions, clocks, faults and evictions.
//!
//! Each row's past is written down, so that an answer can be held against what freshness promises: a version may be
//! given for as long after it was replaced as a row of its kind may be old, and a row may be missing for as long after
//! it was first shown. With every time to live at zero that means: every answer is the truth.
//!
//! `FANFOLD_MODEL_CASES` runs as many cases as it says, for a longer run.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::script::{Compare, Fact, Listed, Totals, unavailable};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert {
        count: u32,
        apart_ms: u32,
        status: usize,
    },
    InsertTies {
        count: u32,
        hours_ago: u32,
    },
    InsertLate {
        shown_after_ms: u32,
    },
    InsertUndated {
        status: usize,
    },
    Change {
        which: usize,
        status: usize,
    },
    ChangeBatch {
        first: usize,
        count: usize,
        status: usize,
    },
    Delete {
        which: usize,
    },
    Pass {
        ms: u32,
    },
    Evict {
        every: u64,
    },
    Fail {
        pages: u64,
    },
    /// Questions that come together, and what happens after so many milliseconds meanwhile.
    Ask {
        asked: Vec<Asked>,
        meanwhile: Option<(u32, Box<Step>)>,
    },
}

#[derive(Clone, Debug)]
struct Asked {
    after_ms: u32,
    status: Option<usize>,
    from_hours: Option<u32>,
    to_hours: Option<u32>,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Collected,
    Streamed,
    Reloaded,
    /// With `no-store`.
    Unkept,
    /// Whoever asked leaves after so many milliseconds.
    Abandoned {
        ms: u32,
    },
}

const STATUSES: [&str; 5] = ["completed", "in-progress", "queued", "no-answer", "failed"];

fn asked() -> impl Strategy<Value = Asked> {
    let hours = || proptest::option::of(0u32..24 * 16);
    let way = prop_oneof![
        2 => Just(Way::Collected),
        2 => Just(Way::Streamed),
        2 => Just(Way::Reloaded),
        1 => Just(Way::Unkept),
        1 => (1u32..120).prop_map(|ms| Way::Abandoned { ms }),
    ];
    (0u32..60, proptest::option::of(0usize..5), hours(), hours(), way).prop_map(
        |(after_ms, status, from_hours, to_hours, way)| Asked { after_ms, status, from_hours, to_hours, way },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let alone = asked().prop_map(|asked| vec![Asked { after_ms: 0, ..asked }]);
    let together = proptest::collection::vec(asked(), 2..5);
    let meanwhile = (1u32..150, change().prop_map(Box::new));
    prop_oneof![
        12 => change(),
        3 => (1u32..40_000).prop_map(|ms| Step::Pass { ms }),
        1 => (2u64..7).prop_map(|every| Step::Evict { every }),
        1 => (1u64..4).prop_map(|pages| Step::Fail { pages }),
        5 => alone.prop_map(|asked| Step::Ask { asked, meanwhile: None }),
        3 => (together, proptest::option::of(meanwhile))
            .prop_map(|(asked, meanwhile)| Step::Ask { asked, meanwhile }),
    ]
}

/// Something that happens to the list.
fn change() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u32..70, 0u32..400, 0usize..5).prop_map(|(count, apart_ms, status)| Step::Insert { count, apart_ms, status }),
        1 => (1u32..70, 0u32..24 * 14).prop_map(|(count, hours_ago)| Step::InsertTies { count, hours_ago }),
        1 => (1u32..9_000).prop_map(|shown_after_ms| Step::InsertLate { shown_after_ms }),
        4 => (any::<usize>(), 0usize..5).prop_map(|(which, status)| Step::Change { which, status }),
        1 => (0usize..5).prop_map(|status| Step::InsertUndated { status }),
        1 => (any::<usize>(), 2usize..80, 0usize..5)
            .prop_map(|(first, count, status)| Step::ChangeBatch { first, count, status }),
        2 => any::<usize>().prop_map(|which| Step::Delete { which }),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    history: u32,
    totals: Totals,
    compare: Compare,
    listed: Listed,
    steps: Vec<Step>,
}

fn case() -> impl Strategy<Value = Case> {
    let totals = prop_oneof![
        4 => Just(Totals::Exact),
        1 => Just(Totals::Missing),
        1 => Just(Totals::OfEverything),
        1 => Just(Totals::Off(7)),
    ];
    let compare = prop_oneof![4 => Just(Compare::Exact), 1 => Just(Compare::RowsAtSeconds), 1 => Just(Compare::Ignored)];
    let listed = prop_oneof![5 => Just(Listed::NewestFirst), 1 => Just(Listed::OldestFirst), 1 => Just(Listed::ByUpdate)];
    let steps = proptest::collection::vec(step(), 1..24);
    (any::<u64>(), 0u32..220, totals, compare, listed, steps).prop_map(
        |(seed, history, totals, compare, listed, steps)| Case {
            seed,
            history,
            totals,
            compare,
            listed,
            steps,
        },
    )
}

/// What one row was, one version after another.
#[derive(Clone, Debug)]
struct Past {
    fact: Fact,
    until: Option<Timestamp>,
}

/// The list's past, by id.
#[derive(Default)]
struct Chronicle(HashMap<String, Vec<Past>>);

impl Chronicle {
    /// Writes down what changed since the last time.
    fn note(&mut self, rows: &[Fact], now: Timestamp) {
        let there: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        for (id, past) in &mut self.0 {
            if let Some(last) =
                past.last_mut().filter(|last| last.until.is_none() && !there.contains(id.as_str()))
            {
                last.until = Some(now);
            }
        }
        for row in rows {
            let past = self.0.entry(row.id.clone()).or_default();
            if let Some(last) = past.last_mut() {
                if last.fact == *row {
                    continue;
                }
                last.until = Some(now);
            }
            past.push(Past { fact: row.clone(), until: None });
        }
    }
}

async fn live_through(case: &Case, settings: EngineSettings) -> Result<(), TestCaseError> {
    let rig = Rig::new(settings.clone(), case.seed).with_history(case.history, 13);
    {
        let mut world = rig.script.world();
        world.insert(NOW.minus(14 * DAY), "completed");
        world.born = Some(NOW.minus(14 * DAY));
        (world.quirks.totals, world.quirks.compare, world.quirks.listed) =
            (case.totals, case.compare, case.listed);
    }
    let chronicle = RefCell::new(Chronicle::default());
    for step in &case.steps {
        note(&chronicle, &rig);
        // Two things never happen at the very same microsecond.
        pass(Duration::from_millis(1)).await;
        let is_early = settings.settled_ttl.is_zero() || chronicle.borrow().0.is_empty();
        mutate(&rig, step, case.listed, is_early);
        match step {
            Step::Pass { ms } => {
                pass(Duration::from_millis(u64::from(*ms))).await;
            }
            Step::Evict { every } => {
                rig.store.0.lock().unwrap().retain(|key, _| key.number % every != 0);
            }
            Step::Insert { .. }
            | Step::InsertTies { .. }
            | Step::InsertLate { .. }
            | Step::InsertUndated { .. }
            | Step::Change { .. }
            | Step::ChangeBatch { .. }
            | Step::Delete { .. }
            | Step::Fail { .. } => {}
            Step::Ask { asked, meanwhile } => {
                note(&chronicle, &rig);
                let is_failing = rig.script.world().refuse.is_some();
                let answers = join_all(asked.iter().map(|asked| ask(&rig, asked)));
                let changing = async {
                    if let Some((after_ms, step)) = meanwhile {
                        tokio::time::sleep(Duration::from_millis(u64::from(*after_ms))).await;
                        note(&chronicle, &rig);
                        mutate(&rig, step, case.listed, false);
                        note(&chronicle, &rig);
                    }
                };
                let (answers, ()) = tokio::join!(answers, changing);
                rig.script.world().refuse = None;
                for Asking { question, at, answer } in answers {
                    match answer {
                        None => {}
                        Some(Ok(rows)) => check(&chronicle.borrow(), &question, &rows, &settings, at)?,
                        Some(Err(error)) => prop_assert!(is_failing, "{error}"),
                    }
                }
            }
        }
    }
    rig.close().await;
    Ok(())
}

fn note(chronicle: &RefCell<Chronicle>, rig: &Rig) {
    chronicle.borrow_mut().note(&rig.script.world().rows, rig.clock.now());
}

/// A question, when it came, and its answer; none if whoever asked left.
struct Asking {
    question: Question,
    at: Timestamp,
    answer: Option<Result<Vec<(String, u32)>, AskError>>,
}

async fn ask(rig: &Rig, asked: &Asked) -> Asking {
    tokio::time::sleep(Duration::from_millis(u64::from(asked.after_ms))).await;
    let now = rig.clock.now();
    let at = |hours: Option<u32>| hours.map(|hours| now.minus(hours * 3_600 * SECOND));
    let base = asked.status.map_or_else(|| rig.question(), |status| rig.status(STATUSES[status]));
    let max_age = matches!(asked.way, Way::Reloaded).then_some(Duration::ZERO);
    let wish = Wish { max_age, no_store: matches!(asked.way, Way::Unkept), ..Wish::default() };
    let question = Question { from: at(asked.from_hours), to: at(asked.to_hours), wish, ..base };
    let collect = async |question| {
        let collected: Result<Collected, AskError> = rig.collect(question).await;
        collected.map(|answer| answer.slices.iter().flat_map(rows).collect())
    };
    let answer = match asked.way {
        Way::Streamed => Some(rig.stream(question.clone()).await),
        Way::Collected | Way::Reloaded | Way::Unkept => Some(collect(question.clone()).await),
        Way::Abandoned { ms } => {
            let patience = Duration::from_millis(u64::from(ms));
            let _left = tokio::time::timeout(patience, collect(question.clone())).await;
            None
        }
    };
    Asking { question, at: now, answer }
}

/// Does to the list what a step says, if it is one that changes the list.
fn mutate(rig: &Rig, step: &Step, listed: Listed, is_early: bool) {
    let (mut world, now) = (rig.script.world(), rig.clock.now());
    let rows = world.rows.len().max(1);
    match step {
        Step::Insert { count, apart_ms, status } => {
            for n in 0..*count {
                let apart = Duration::from_millis(u64::from(n * apart_ms / count));
                let row = world.insert(now.minus(apart), STATUSES[*status]);
                world.rows[row].shown_at = now;
            }
        }
        Step::InsertTies { count, hours_ago } => {
            // Upstream makes no rows in the past, so these were there before anybody asked: only at the start.
            if is_early {
                (0..*count).for_each(|_| {
                    world.insert(now.minus(*hours_ago * 3_600 * SECOND), "completed");
                });
            }
        }
        Step::InsertLate { shown_after_ms } => {
            let row = world.insert(now, "queued");
            world.rows[row].shown_at = now.plus(Duration::from_millis(u64::from(*shown_after_ms)));
        }
        Step::InsertUndated { status } => {
            // Its place follows from those around it, if they come newest first.
            let row = world.insert(now, STATUSES[*status]);
            world.rows[row].shown_at = now;
            world.rows[row].is_dated = listed != Listed::NewestFirst;
        }
        Step::ChangeBatch { first, count, status } => {
            let mut newest_first: Vec<usize> = (0..world.rows.len()).collect();
            newest_first.sort_by_key(|row| Reverse(world.rows[*row].created_at));
            for (n, row) in newest_first.into_iter().skip(first % rows).take(*count).enumerate() {
                world.change(row, STATUSES[*status], now.minus(Duration::from_micros(n as u64)));
            }
        }
        Step::Change { which, status } if which % rows < world.rows.len() => {
            world.change(which % rows, STATUSES[*status], now);
        }
        Step::Delete { which } if which % rows < world.rows.len() => {
            world.rows.remove(which % rows);
        }
        Step::Change { .. } | Step::Delete { .. } => {}
        Step::Fail { pages } => {
            let mut left = *pages;
            world.refuse = Some(Box::new(move |_| {
                left = left.saturating_sub(1);
                (left > 0).then(unavailable)
            }));
        }
        Step::Pass { .. } | Step::Evict { .. } | Step::Ask { .. } => {}
    }
}

/// Holds an answer, asked for at `now`, against the chronicle.
fn check(
    chronicle: &Chronicle,
    question: &Question,
    rows: &[(String, u32)],
    settings: &EngineSettings,
    now: Timestamp,
) -> Result<(), TestCaseError> {
    let mut given: HashMap<&str, u32> = HashMap::new();
    for (id, version) in rows {
        prop_assert!(given.insert(id, *version).is_none(), "{id} comes twice");
    }
    let facts = rows.iter().map(|(id, _)| &chronicle.0[id][0].fact);
    let order: Vec<Timestamp> = facts.filter(|fact| fact.is_dated).map(|fact| fact.created_at).collect();
    prop_assert!(order.is_sorted_by_key(|at| Reverse(*at)), "newest first");
    let reloaded = question.wish.max_age.is_some();
    let settling = if reloaded { Duration::ZERO } else { settings.settling_ttl };
    let live = if reloaded { Duration::ZERO } else { settings.live_ttl };
    let status = question.filters.status.as_ref().map(|status| status.as_str());
    for (id, past) in &chronicle.0 {
        let created_at = past[0].fact.created_at;
        // Near an end of the question a row without a date may be on either side.
        if !past[0].fact.is_dated && (question.from.is_some() || question.to.is_some()) {
            continue;
        }
        if question.from.is_some_and(|from| created_at < from)
            || question.to.is_some_and(|to| created_at > to)
        {
            prop_assert!(!given.contains_key(id.as_str()), "{id} is outside");
            continue;
        }
        // How old may what is said of this row be? By what it was then, and under a filter by its place.
        let by_row = |fact: &Fact| {
            let terminal = matches!(fact.status.as_str(), "completed" | "no-answer" | "failed");
            if terminal && now.since(fact.updated_at) > settings.settle_after {
                2 * settings.settled_ttl
            } else {
                settling
            }
        };
        let by_place = match now.since(created_at) {
            age if age <= settings.settle_after => live,
            age if age <= 7 * DAY => settling,
            _ => 2 * settings.settled_ttl,
        };
        let is_allowed = |version: &Past| {
            let age = match status {
                None => by_row(&version.fact),
                Some(status) if version.fact.status == status => by_place.min(by_row(&version.fact)),
                Some(_) => by_place,
            };
            version.until.is_none_or(|until| until.plus(age) >= now)
        };
        let fits = |fact: &Fact| status.is_none_or(|status| fact.status == status);
        if let Some(version) = given.get(id.as_str()) {
            let past = past.iter().find(|past| past.fact.version == *version);
            let Some(past) = past.filter(|past| fits(&past.fact)) else {
                return Err(TestCaseError::fail(format!("{id} was never so")));
            };
            prop_assert!(is_allowed(past), "{id} is too old in version {version}: {past:?} at {now}");
        } else {
            let shown_at = past[0].fact.shown_at.max(created_at);
            let is_new = shown_at.plus(live) >= now;
            let was_elsewhere = past.iter().any(|past| !fits(&past.fact) && is_allowed(past));
            let is_gone = past.last().is_some_and(|last| last.until.is_some());
            prop_assert!(is_new || was_elsewhere || is_gone, "{id} is missing: {past:?} at {now}");
        }
    }
    Ok(())
}

fn run(cases: u32, settings: &EngineSettings) {
    let asked = std::env::vars()
        .find_map(|(name, value)| (name == "FANFOLD_MODEL_CASES").then(|| value.parse().ok()).flatten());
    let config = Config { cases: asked.unwrap_or(cases), failure_persistence: None, ..Config::default() };
    // Every run of the tests tries the same cases; a longer one tries others each time.
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => {
            let rng = TestRng::deterministic_rng(config.rng_algorithm);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let result = runner.run(&case(), |case| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live_through(&case, settings.clone()))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn with_every_time_to_live_at_zero_every_answer_is_the_truth() {
    let zero = Duration::ZERO;
    run(1_000, &EngineSettings { live_ttl: zero, settling_ttl: zero, settled_ttl: zero, ..settings() });
}

#[test]
fn no_row_is_older_than_promised() {
    run(
        1_500,
        &EngineSettings {
            settle_after: 3_600 * SECOND,
            settled_ttl: 30 * SECOND,
            settling_ttl: 8 * SECOND,
            ..settings()
        },
    );
}
