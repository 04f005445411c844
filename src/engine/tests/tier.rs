//! What a tier keeps: over restarts, after evictions, and through its own faults.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::future::{BoxFuture, FutureExt};

use super::*;
use crate::domain::{Entry, EntryIndex, NewRow, Span};
use crate::engine::coverage::Coverage;
use crate::engine::scope::{CellDraft, segment_of};
use crate::store::ScopeKey;
use crate::tier::{
    Saved, ScopeChanges, Tier, TierKind, TierNews, TierScope, TierStatus, TierUnavailable, TierVersion,
    Voided, week_of,
};

/// A tier in memory, which can lose and refuse.
#[derive(Default)]
pub(super) struct TestTier {
    kept: Mutex<HashMap<ScopeKey, (TierScope, Coverage)>>,
    rows: Mutex<HashMap<EntryKey, Vec<NewRow>>>,
    voids: Mutex<HashMap<Voided, Timestamp>>,
    /// Takes nothing, as a full disk does.
    pub(super) is_full: AtomicBool,
    /// How often it was asked for a scope.
    pub(super) loads: Mutex<usize>,
}

impl TestTier {
    /// Loses the bytes of every entry whose number this is true of.
    pub(super) fn lose_rows(&self, is_lost: impl Fn(&EntryKey) -> bool) {
        self.rows.lock().unwrap().retain(|key, _| !is_lost(key));
    }

    fn void_until(&self, scope: &TierScope) -> Timestamp {
        let voids = self.voids.lock().unwrap();
        let of = |what| voids.get(&what).copied();
        let (agent, credential) = (of(Voided::Agent(scope.agent)), of(Voided::Credential(scope.credential)));
        agent.max(credential).unwrap_or(Timestamp::MIN)
    }
}

impl Tier for TestTier {
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews> {
        *self.loads.lock().unwrap() += 1;
        let void_until = self.void_until(scope);
        let mut cells: HashMap<i64, CellDraft> = HashMap::new();
        if let Some((_, coverage)) = self.kept.lock().unwrap().get(&scope.key) {
            let all = Span::new(Timestamp::MIN, Timestamp::MAX).unwrap();
            for segment in coverage.overlapping(all).filter(|segment| segment.read_at > void_until) {
                for week in (week_of(segment.span.from())..=week_of(segment.span.to())).rev() {
                    cells.entry(week).or_insert_with(|| CellDraft::new(week)).add(segment, &mut Vec::new());
                }
            }
        }
        let cells = cells.into_values().map(|draft| draft.cell).collect();
        async move { TierNews { version: since, cells } }.boxed()
    }

    fn load_rows<'a>(
        &'a self,
        _: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>> {
        let rows = self.rows.lock().unwrap();
        let found = entries.iter().map(|(key, _)| Some(Arc::new(Entry::new(rows.get(key)?)))).collect();
        async move { found }.boxed()
    }

    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved> {
        if self.is_full.load(Relaxed) {
            return async { Saved::No }.boxed();
        }
        for (key, entry) in &changes.rows {
            let rows = entry.take_rows(0..entry.rows().len()).unwrap();
            self.rows.lock().unwrap().insert(*key, rows);
        }
        let mut kept = self.kept.lock().unwrap();
        let (_, coverage) = kept.entry(scope.key).or_insert_with(|| (*scope, Coverage::default()));
        for gone in &changes.forgotten {
            coverage.replace(gone.span, Vec::new());
        }
        for cell in &changes.cells {
            let indexes = cell.entries.iter().map(|entry| (entry.key, Arc::clone(&entry.index))).collect();
            for segment in &cell.segments {
                let segment = segment_of(segment, &cell.entries, &indexes).unwrap();
                coverage.replace(segment.span, vec![segment]);
            }
        }
        async { Saved::Yes { before: 0, after: 0 } }.boxed()
    }

    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>> {
        self.voids.lock().unwrap().insert(what, at);
        async { Ok(()) }.boxed()
    }

    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>> {
        let voided = scopes.into_iter().map(|scope| (scope, self.void_until(&scope)));
        let voided = voided.filter(|(_, until)| *until > Timestamp::MIN).collect();
        async move { voided }.boxed()
    }

    fn status(&self) -> TierStatus {
        TierStatus { kind: TierKind::Directory, is_ok: true }
    }
}

/// Long enough for everything to be saved.
const SAVING: Duration = Duration::from_secs(15);

impl Rig {
    /// The same gateway after a crash: another process, over the same upstream and tier.
    pub(super) fn restarted(self, settings: EngineSettings) -> Self {
        let store = Arc::new(MapStore::default());
        let shutdown = Shutdown::default();
        let source: Arc<dyn Source> = Arc::clone(&self.script) as _;
        let tier = self.tier.clone().map(|tier| tier as _);
        let engine = Engine::new(
            settings,
            BOUNDS,
            source,
            Arc::clone(&store) as _,
            tier,
            self.clock.clone(),
            shutdown.clone(),
        );
        // What the old process was doing ends.
        self.shutdown.end();
        Self { engine, store, shutdown, ..self }
    }

    /// Asks for all rows, which must be those that there are; returns how many pages that took.
    async fn requests_for_all_rows(&self) -> usize {
        assert_eq!(self.rows(self.question()).await, self.truth(&self.question()));
        self.requests()
    }

    fn tier(&self) -> &TestTier {
        self.tier.as_ref().unwrap()
    }
}

fn long_lived() -> EngineSettings {
    EngineSettings { live_ttl: 60 * SECOND, settling_ttl: 600 * SECOND, ..settings() }
}

async fn rig() -> Rig {
    let rig = Rig::with_tier(long_lived(), 1).with_history(1_000, 30);
    assert!(rig.requests_for_all_rows().await >= 20);
    rig
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_only_the_head_is_read() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    // A filter is applied to what was restored, and a part of it is enough for a part.
    let status = rig.status("completed");
    assert_eq!(rig.rows(status.clone()).await, rig.truth(&status));
    let from = Some(NOW.minus(20 * DAY));
    let part = Question { from, to: Some(NOW.minus(10 * DAY)), ..rig.question() };
    assert_eq!(rig.rows(part.clone()).await, rig.truth(&part));
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_saves_what_was_just_read() {
    let rig = rig().await;
    rig.shutdown.drain();
    rig.shutdown.finished().await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_store_drops_comes_back_from_the_tier() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    for way in 0..3 {
        rig.store.0.lock().unwrap().clear();
        let rows = match way {
            0 => rig.rows(rig.question()).await,
            1 => rig.stream(rig.question()).await.unwrap(),
            _ => rig.rows(rig.newest(0, 120)).await,
        };
        let truth = rig.truth(&rig.question());
        assert_eq!(rows, truth[..rows.len()]);
        assert_eq!((rows.len(), rig.requests()), (if way == 2 { 120 } else { 1_000 }, 0));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_tier_lost_is_read_again() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    rig.tier().lose_rows(|key| key.number % 2 == 0);
    let rig = rig.restarted(long_lived());
    let again = rig.requests_for_all_rows().await;
    assert!((8..=24).contains(&again), "{again} requests");
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_that_was_purged_comes_back() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    rig.engine.forget(rig.question().agent).await.unwrap();
    let again = rig.requests_for_all_rows().await;
    assert!(again >= 20, "{again} requests");
    let rig = rig.restarted(long_lived());
    // Nothing was saved since.
    assert!(rig.requests_for_all_rows().await >= 20);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_process_purges_is_dropped_within_a_second() {
    let rig = rig().await;
    let marked = rig.tier().void(Voided::Agent(rig.question().agent), rig.clock.now()).await;
    assert_eq!(marked, Ok(()));
    tokio::time::sleep(SECOND).await;
    assert!(rig.requests_for_all_rows().await >= 20);
    // What was read since stays.
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(rig.requests_for_all_rows().await, 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_full_tier_did_not_take_is_saved_later() {
    let rig = rig().await;
    rig.tier().is_full.store(true, Relaxed);
    let new = rig.script.now().minus(SECOND);
    rig.script.world().insert(new, "completed");
    tokio::time::sleep(70 * SECOND).await;
    assert!(rig.requests_for_all_rows().await <= 2);
    rig.tier().is_full.store(false, Relaxed);
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_known_scope_never_asks_the_tier() {
    let rig = rig().await;
    let asked = *rig.tier().loads.lock().unwrap();
    for question in [rig.question(), rig.status("completed"), rig.statuses(&["busy", "failed"])] {
        let _ = rig.rows(question.clone()).await;
        let first = *rig.tier().loads.lock().unwrap();
        assert!(first <= asked + 1, "once for a scope that nobody had asked for");
        let _ = rig.rows(question).await;
        assert_eq!(*rig.tier().loads.lock().unwrap(), first);
    }
    rig.close().await;
}
