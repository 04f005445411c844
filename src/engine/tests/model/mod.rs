//! The whole read path against a plain list: random histories, questions, clocks, faults and evictions.
//!
//! Every version of each row is recorded, so that an answer can be checked against the promise of freshness:
//! a version may be returned for as long after it was replaced as a row of its kind may be old, and a row may
//! be missing for as long after it was first listed. With all times to live at zero, every answer must equal
//! the list.
//!
//! `FANFOLD_MODEL_CASES` sets the number of cases, for a longer run.

mod chronicle;
mod clients;
mod steps;

use std::cell::RefCell;
use std::collections::HashMap;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use self::chronicle::Chronicle;
use self::clients::ModelClients;
use self::steps::{Case, Kept, ModelAsked, ModelStep, ModelWay, STATUSES, case, mutate, set_up};
use super::bent::Bent;
use super::columns::{summed, versions};
use super::script::{Compare, Fact, ScriptTotals};
use super::*;
use crate::domain::Digest;
use crate::source::SourceError;

/// Longer than a refusal is remembered.
const REFUSAL_PASSES: Duration = Duration::from_secs(4);

async fn live_through(case: &Case, settings: EngineSettings) -> Result<(), TestCaseError> {
    let settings =
        EngineSettings { window: settings.window.filter(|_| case.compare != Compare::Ignored), ..settings };
    let tier = (case.kept != Kept::Nowhere).then(Arc::default);
    let rig = Rig::of(settings.clone(), case.seed, Bent::default(), tier).with_history(case.history, 13);
    set_up(&rig, case);
    let mut rigs = match case.kept {
        Kept::Nowhere | Kept::Alone => vec![rig],
        Kept::Shared => (0..3).map(|process| rig.replica(settings.clone(), process)).collect(),
    };
    let chronicle = RefCell::new(Chronicle::default());
    let (digests, clients) = (RefCell::default(), ModelClients::default());
    let mut has_moved = false;
    for (number, step) in case.steps.iter().enumerate() {
        let turn = number % rigs.len();
        let rig = &rigs[turn];
        note(&chronicle, rig);
        // No two events happen in the same microsecond.
        pass(Duration::from_millis(1)).await;
        let is_early = settings.settled_ttl.is_zero() || chronicle.borrow().is_empty();
        mutate(rig, step, case, is_early);
        match step {
            ModelStep::Pass { ms } => pass(Duration::from_millis(u64::from(*ms))).await,
            ModelStep::Restart => restart(&mut rigs[turn], &settings, case.kept == Kept::Shared, number),
            ModelStep::Ask { asked, meanwhile } => {
                note(&chronicle, rig);
                let asking = asked
                    .iter()
                    .enumerate()
                    .map(|(one, asked)| ask(&rigs[(turn + one) % rigs.len()], (&digests, &clients), asked));
                let answers = join_all(asking);
                let changing = async {
                    if let Some((after_ms, step)) = meanwhile
                        && !is_hidden(case, step)
                    {
                        tokio::time::sleep(Duration::from_millis(u64::from(*after_ms))).await;
                        note(&chronicle, rig);
                        mutate(rig, step, case, false);
                        note(&chronicle, rig);
                    }
                };
                let (answers, ()) = tokio::join!(answers, changing);
                has_moved |= meanwhile.is_some();
                // A list that moves while it is read, and whose totals fluctuate or which can't be divided by dates, may
                // contradict itself for longer than it is tried again.
                let is_proven_poorly =
                    case.totals == ScriptTotals::Unsteady || case.compare == Compare::Ignored;
                let may_contradict = has_moved && is_proven_poorly;
                for asking in answers {
                    match &asking.answer {
                        None => {}
                        Some(Ok(rows)) => chronicle.borrow().check(&asking, rows, &settings, case)?,
                        Some(Err(AskError::Inconsistent { .. })) if may_contradict => {}
                        Some(Err(error)) => prop_assert!(is_excused(rig, error), "{error}"),
                    }
                }
                let was_revoked = {
                    let mut world = rig.script.world();
                    world.refuse = None;
                    world.agent_refused.take().is_some()
                };
                if was_revoked {
                    pass(REFUSAL_PASSES).await;
                }
            }
            ModelStep::Insert { .. }
            | ModelStep::InsertTies { .. }
            | ModelStep::InsertLate { .. }
            | ModelStep::InsertUndated { .. }
            | ModelStep::Change { .. }
            | ModelStep::ChangeBatch { .. }
            | ModelStep::Delete { .. }
            | ModelStep::DeleteBatch { .. }
            | ModelStep::Evict { .. }
            | ModelStep::Shed { .. }
            | ModelStep::TierTrouble { .. }
            | ModelStep::Purge
            | ModelStep::Fail { .. }
            | ModelStep::Stray { .. }
            | ModelStep::Revoke
            | ModelStep::Hollow { .. } => {}
        }
    }
    for rig in rigs {
        rig.close().await;
    }
    Ok(())
}

/// Whether nothing in upstream's responses reveals the change: rows that are deleted while the total stays
/// the same, or fluctuates, move others to a page that was already read. A walk is proven by totals, so this
/// can't be detected.
fn is_hidden(case: &Case, step: &ModelStep) -> bool {
    matches!(case.totals, ScriptTotals::Frozen | ScriptTotals::Unsteady)
        && matches!(step, ModelStep::Delete { .. } | ModelStep::DeleteBatch { .. })
}

/// Whether an answer failed because of upstream, and its error says so.
fn is_excused(rig: &Rig, error: &AskError) -> bool {
    let world = rig.script.world();
    let is_scripted = |detail: &str| detail == "scripted" && world.refuse.is_some();
    matches!(error, AskError::Source(SourceError::Denied(_)) if world.agent_refused.is_some())
        || matches!(error, AskError::Source(SourceError::Unavailable { detail, .. }) if is_scripted(detail))
}

/// Replaces the gateway by another one over the same upstream and tier, if there is one.
fn restart(rig: &mut Rig, settings: &EngineSettings, is_shared: bool, number: usize) {
    if is_shared {
        // The work of the old process continues for a while.
        let old = std::mem::replace(rig, rig.replica(settings.clone(), 3 + number));
        old.shutdown.drain();
        return;
    }
    rig.store = Arc::new(MapStore::default());
    let (source, store): (Arc<dyn Source>, _) = (Arc::clone(&rig.script) as _, Arc::clone(&rig.store));
    let tier = rig.tier.clone().map(|tier| tier as _);
    let (clock, shutdown) = (rig.clock.clone(), rig.shutdown.clone());
    rig.engine = Engine::new(settings.clone(), BOUNDS, source, store as _, tier, clock, shutdown);
}

fn note(chronicle: &RefCell<Chronicle>, rig: &Rig) {
    chronicle.borrow_mut().note(&rig.script.world().rows, rig.clock.now());
}

/// The digest of every version of every row, which must be the same in every gateway.
type Digests = RefCell<HashMap<(String, u32), Digest>>;

/// A question, when it was asked, and its answer; `None` if the caller left.
struct ModelAsking {
    question: Question,
    at: Timestamp,
    answer: Option<Result<Vec<(String, u32)>, AskError>>,
}

impl ModelAsking {
    /// Whether a version of a row passes the question's filters.
    fn fits(&self, fact: &Fact) -> bool {
        is_asked_for(&self.question, fact)
    }
}

async fn ask(rig: &Rig, known: (&Digests, &ModelClients), asked: &ModelAsked) -> ModelAsking {
    tokio::time::sleep(Duration::from_millis(u64::from(asked.after_ms))).await;
    let now = rig.clock.now();
    let at = |hours: Option<u32>| hours.map(|hours| now.minus(hours * 3_600 * SECOND));
    let mut directives =
        CacheDirectives { no_store: matches!(asked.way, ModelWay::Unkept), ..CacheDirectives::default() };
    directives.max_age = matches!(asked.way, ModelWay::Reloaded).then_some(Duration::ZERO);
    if let ModelWay::Stale { ms } = asked.way {
        directives.max_stale = Some(Duration::from_millis(u64::from(ms)));
    }
    let statuses = Statuses::new(asked.statuses.iter().map(|status| Status::new(STATUSES[*status])));
    let only = statuses.as_ref().and_then(Statuses::only).cloned();
    let any_status = statuses.filter(|_| only.is_none());
    let filters = Filters { status: only, answered_by_voice_mail: asked.voice_mail, ..Filters::default() };
    let mode = match asked.way {
        ModelWay::Streamed | ModelWay::Slowly { .. } | ModelWay::Conditional => {
            ResponseMode::Streamed { row_wait: 50 * SECOND }
        }
        ModelWay::Collected
        | ModelWay::Described
        | ModelWay::Reloaded
        | ModelWay::Unkept
        | ModelWay::Stale { .. }
        | ModelWay::Abandoned { .. } => rig.question().mode,
    };
    let (from, to) = (at(asked.from_hours), at(asked.to_hours));
    let newest = asked.limit.map(|rows| Newest { skip: 0, take: rows.into() });
    let needs_facts = matches!(asked.way, ModelWay::Described | ModelWay::Conditional);
    let need = if needs_facts { RowNeed::Facts } else { RowNeed::Bytes };
    let question =
        Question { from, to, newest, filters, any_status, directives, mode, need, ..rig.question() };
    let parity = asked.from_hours.unwrap_or(0) + asked.to_hours.unwrap_or(0) + asked.statuses.len() as u32;
    let is_summed = matches!(asked.way, ModelWay::Described) && parity.is_multiple_of(2);
    let question = if is_summed { summed(question) } else { question };
    let pause = if let ModelWay::Slowly { ms } = asked.way { ms } else { 0 };
    let taken = taken(rig, known, question.clone(), Duration::from_millis(u64::from(pause)));
    let answer = if let ModelWay::Abandoned { ms } = asked.way {
        let patience = Duration::from_millis(u64::from(ms));
        let _left = tokio::time::timeout(patience, taken).await;
        None
    } else {
        Some(taken.await)
    };
    ModelAsking { question, at: now, answer }
}

/// The rows of an answer, after a check that its verdict describes them.
async fn taken(
    rig: &Rig,
    (digests, clients): (&Digests, &ModelClients),
    question: Question,
    pause: Duration,
) -> Result<Vec<(String, u32)>, AskError> {
    let is_stream = matches!(question.mode, ResponseMode::Streamed { .. });
    let mut follower = clients.ask(rig, &question);
    let mut answer = rig.engine.ask(question.clone()).await?;
    if is_stream {
        answer = answer.with_bytes().await?;
    }
    if let Some((follower, verdict)) = follower.as_mut().zip(answer.from_cache()) {
        follower.expect(verdict);
    }
    let from_cache = answer.from_cache().map(|verdict| verdict.digest);
    let (slices, verdict) = if is_stream {
        let mut slices = Vec::new();
        while let Some(slice) = answer.next().await? {
            slices.push(slice);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        (slices, answer.verdict())
    } else {
        let collected = answer.collect(u64::MAX).await?;
        (collected.slices, collected.verdict)
    };
    let given: Vec<_> = slices.iter().flat_map(rows).collect();
    if let RowNeed::Columns(_) = question.need {
        let summed: Vec<_> = slices.iter().flat_map(versions).collect();
        assert_eq!(summed, given.iter().map(|(_, version)| *version).collect::<Vec<_>>());
    }
    let mut digest = Digest::default();
    for (row, version) in slices.iter().flat_map(EntrySlice::rows).zip(&given) {
        digest.add(row.digest);
        let first = *digests.borrow_mut().entry(version.clone()).or_insert(row.digest);
        assert_eq!(first, row.digest, "the digest depends only on the version");
    }
    assert_eq!(digest, verdict.digest, "the verdict's digest is that of the rows");
    assert!(
        from_cache.is_none_or(|from_cache| from_cache == digest),
        "the verdict before the first row has the same digest"
    );
    assert_eq!(given.len() as u64, verdict.count);
    if let Some(follower) = follower {
        follower.apply(rig, &question, &slices, &verdict);
    }
    Ok(given)
}

fn run(cases: u32, settings: &EngineSettings) {
    let asked = std::env::vars()
        .find_map(|(name, value)| (name == "FANFOLD_MODEL_CASES").then(|| value.parse().ok()).flatten());
    let config = Config { cases: asked.unwrap_or(cases), failure_persistence: None, ..Config::default() };
    // An ordinary run always tries the same cases; a longer one tries others each time.
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
