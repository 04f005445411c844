//! The whole read path over a scripted upstream, with a paused clock.

mod ages;
mod answers;
mod bent;
mod changes;
mod columns;
mod endings;
mod filters;
mod hard_walks;
mod index_only;
mod keys;
mod leaving;
mod memory;
mod model;
mod moving_lists;
mod newest;
mod odd_lists;
mod organization;
mod prefetch;
mod proofs;
mod quirks;
mod refresh;
mod refusals;
mod relays;
mod replicas;
mod script;
mod script_failures;
mod script_source;
mod sections;
mod several_statuses;
mod sharing;
mod stale;
mod test_tier;
mod tier;
mod tiny_questions;
mod undated_rows;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use self::script::{Fact, Script, matches};
use self::test_tier::TestTier;
use super::coverage::CoveragePart;
use super::*;
use crate::domain::{
    AgentId, Caller, Credential, CredentialId, EntryRow, EntrySlice, Filters, Status, Statuses, Timestamp,
};
use crate::source::Trace;
use crate::store::EntryKey;
use crate::store::testing::MapStore;

/// An engine over a scripted upstream.
struct Rig {
    engine: Engine,
    script: Arc<Script>,
    store: Arc<MapStore>,
    clock: Clock,
    shutdown: Shutdown,
    /// The storage that outlives the engine, if there is any.
    tier: Option<Arc<TestTier>>,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Some instant in 2026.
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);

fn settings() -> EngineSettings {
    EngineSettings {
        fan_out: 8,
        budget_patience: Duration::from_mins(3),
        window: Some(7 * DAY),
        history_start: None,
        live_ttl: SECOND,
        settling_ttl: 2 * SECOND,
        settled_ttl: DAY,
        settle_after: 3 * 3_600 * SECOND,
        commit_lag: 10 * SECOND,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    }
}

const BOUNDS: MemoryBounds =
    MemoryBounds { responses: 64 << 20, change_logs: 32 << 20, relayed_pages: 1 << 20 };

impl Rig {
    fn new(settings: EngineSettings, seed: u64) -> Self {
        Self::of(settings, seed, bent::Bent::default(), None)
    }

    /// With a tier.
    fn with_tier(settings: EngineSettings, seed: u64) -> Self {
        Self::of(settings, seed, bent::Bent::default(), Some(Arc::default()))
    }

    fn of(settings: EngineSettings, seed: u64, bent: bent::Bent, tier: Option<Arc<TestTier>>) -> Self {
        let clock = Clock::showing(NOW);
        let script = Arc::new(Script::new(clock.clone(), seed, bent));
        let (store, shutdown) = (Arc::new(MapStore::default()), Shutdown::default());
        let source: Arc<dyn Source> = Arc::clone(&script) as _;
        let kept = tier.clone().map(|tier| tier as _);
        let engine = Engine::new(
            settings,
            BOUNDS,
            source,
            Arc::clone(&store) as _,
            kept,
            clock.clone(),
            shutdown.clone(),
        );
        Self { engine, script, store, clock, shutdown, tier }
    }

    /// A history of `rows` completed executions, evenly over some days up to a minute ago.
    fn with_history(self, rows: u32, days: u32) -> Self {
        let step = days * DAY / rows.max(1);
        {
            let mut world = self.script.world();
            for row in 0..rows {
                world.insert(NOW.minus(60 * SECOND).minus(row * step), "completed");
            }
        }
        self
    }

    /// Inserts rows in a status, two days apart.
    fn every_two_days(&self, numbers: std::ops::Range<u32>, status: &str) -> Vec<usize> {
        let mut world = self.script.world();
        numbers.map(|n| world.insert(NOW.minus(n * 2 * DAY), status)).collect()
    }

    fn question(&self) -> Question {
        Question {
            caller: Caller::of_key(CredentialId::new([1; 16])),
            credential: Credential::new(CredentialId::new([1; 16]), "key".to_owned().into()),
            agent: AgentId::new(Uuid::from_u128(7)),
            filters: Filters::default(),
            any_status: None,
            from: None,
            to: None,
            newest: None,
            directives: CacheDirectives::default(),
            tolerance: Tolerance::Strict,
            mode: ResponseMode::Collected { deadline: Instant::now() + 50 * SECOND },
            need: RowNeed::Bytes,
            trace: Trace::default(),
        }
    }

    fn status(&self, status: &str) -> Question {
        let filters = Filters { status: Some(Status::new(status)), ..Filters::default() };
        Question { filters, ..self.question() }
    }

    fn statuses(&self, statuses: &[&str]) -> Question {
        let any_status = Statuses::new(statuses.iter().map(|status| Status::new(status)));
        Question { any_status, ..self.question() }
    }

    /// Drops the bytes of all rows.
    fn evict(&self) {
        self.store.0.lock().unwrap().clear();
    }

    /// From now on, every page fails.
    fn fail_upstream(&self) {
        self.script.world().refuse = Some(Box::new(|_| Some(script::unavailable())));
    }

    async fn collect(&self, question: Question) -> Result<Collected, AskError> {
        self.engine.ask(question).await?.collect(u64::MAX).await
    }

    /// A question for some of the newest rows.
    fn newest(&self, skip: u64, take: u64) -> Question {
        Question { newest: Some(Newest { skip, take }), ..self.question() }
    }

    /// Ids and versions of the answer's rows, in its order.
    async fn rows(&self, question: Question) -> Vec<(String, u32)> {
        self.collect(question).await.unwrap().slices.iter().flat_map(rows).collect()
    }

    /// As [`rows`](Self::rows), taken as a stream.
    async fn stream(&self, question: Question) -> Result<Vec<(String, u32)>, AskError> {
        let mut answer = self.engine.ask(bent::streamed(question)).await?;
        let mut all = Vec::new();
        while let Some(slice) = answer.next().await? {
            all.extend(rows(&slice));
        }
        Ok(all)
    }

    /// The rows that upstream has for a question.
    fn truth(&self, question: &Question) -> Vec<(String, u32)> {
        let span = crate::domain::Span::new(
            question.from.unwrap_or(Timestamp::MIN),
            question.to.unwrap_or(Timestamp::MAX),
        );
        let now = self.script.now();
        span.map(|span| self.script.world().truth(question, span, now)).unwrap_or_default()
    }

    /// How many pages were requested since the last call.
    fn requests(&self) -> usize {
        std::mem::take(&mut self.script.world().asked).len()
    }

    /// The number of rows in each part of the unfiltered coverage; a gap has none.
    fn parts(&self) -> Vec<usize> {
        let Question { credential, agent, filters, .. } = self.question();
        let scope = self.engine.state.scopes.find(&crate::source::Subject { credential, agent, filters });
        let all = crate::domain::Span::new(Timestamp::MIN, Timestamp::MAX).unwrap();
        let (scope, mut rows) = (scope.unwrap(), Vec::new());
        for part in scope.lock().coverage.look(all) {
            rows.push(match part {
                CoveragePart::Known(segment) => segment.len(),
                CoveragePart::Gap(_) => 0,
            });
        }
        rows
    }

    /// Ends a test: no task may be left running.
    async fn close(self) {
        self.shutdown.drain();
        tokio::time::timeout(60 * SECOND, self.shutdown.finished()).await.expect("no task is left");
    }
}

/// Ids and versions of a slice's rows.
fn rows(slice: &EntrySlice) -> Vec<(String, u32)> {
    if !slice.entry.has_bytes() {
        return slice.rows().map(|row| (row.id().to_string(), version_by_digest(&row))).collect();
    }
    slice
        .positions()
        .map(|position| {
            let bytes = slice.entry.take_rows(position..position + 1).unwrap().remove(0).row.bytes;
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let version = value["version"].as_u64().unwrap() as u32;
            (slice.entry.rows().at(position).id().to_string(), version)
        })
        .collect()
}

/// The version of a row whose bytes are gone: the one whose bytes would have its digest.
fn version_by_digest(row: &EntryRow<'_>) -> u32 {
    let status = row.status.map_or("", Status::as_str);
    let is_it = |version: &u32| {
        let bytes = script::row_bytes(&row.id().to_string(), *version, status);
        super::coverage::digest(bytes.as_bytes()) == row.digest
    };
    (0..10_000).find(is_it).expect("the row is from the script")
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

/// Whether a row as it is passes a question's filters.
fn is_asked_for(question: &Question, row: &Fact) -> bool {
    let has_any = |statuses: &Statuses| statuses.has(Some(&Status::new(&row.status)));
    question.any_status.as_ref().is_none_or(has_any) && matches(&question.filters, row)
}
