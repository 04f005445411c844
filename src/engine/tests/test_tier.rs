//! A tier in memory for one process or several, which can lose rows and refuse to save.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;

use super::*;
use crate::domain::{Entry, EntryIndex, NewRow, Span};
use crate::sealed::{lay_over, only};
use crate::store::ScopeKey;
use crate::tier::{
    Cell, Saved, ScopeChanges, Tier, TierKind, TierNews, TierScope, TierStatus, TierUnavailable, TierVersion,
    Turn, Voided, turn_of, weeks_in,
};

/// A saved scope: its version, and each week with the version at which it changed.
#[derive(Default)]
struct KeptScope {
    version: TierVersion,
    cells: BTreeMap<i64, (TierVersion, Cell)>,
}

/// A tier in memory.
#[derive(Default)]
pub(super) struct TestTier {
    kept: Mutex<HashMap<ScopeKey, KeptScope>>,
    rows: Mutex<HashMap<EntryKey, Vec<NewRow>>>,
    voids: Mutex<HashMap<Voided, Timestamp>>,
    turns: Mutex<HashMap<(ScopeKey, i64), (usize, Instant)>>,
    /// Whether it refuses to save, like a full disk.
    pub(super) is_full: AtomicBool,
    /// How often a scope was loaded.
    pub(super) loads: Mutex<usize>,
}

impl TestTier {
    /// Loses the bytes of the entries that `is_lost` accepts.
    pub(super) fn lose_rows(&self, is_lost: impl Fn(&EntryKey) -> bool) {
        self.rows.lock().retain(|key, _| !is_lost(key));
    }

    fn void_until(&self, scope: &TierScope) -> Timestamp {
        let voids = self.voids.lock();
        let of = |what| voids.get(&what).copied();
        let (agent, credential) = (of(Voided::Agent(scope.agent)), of(Voided::Credential(scope.credential)));
        agent.max(credential).unwrap_or(Timestamp::MIN)
    }

    fn news(&self, scope: &TierScope, since: TierVersion) -> TierNews {
        let void_until = self.void_until(scope);
        let kept = self.kept.lock();
        let Some(kept) = kept.get(&scope.key) else { return TierNews { version: since, cells: Vec::new() } };
        let changed = kept.cells.values().filter(|(version, _)| *version > since);
        let cells = changed.map(|(_, cell)| only(cell, |segment| segment.read_at > void_until));
        TierNews { version: kept.version, cells: cells.filter(|cell| !cell.segments.is_empty()).collect() }
    }
}

impl Tier for TestTier {
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews> {
        *self.loads.lock() += 1;
        let news = self.news(scope, since);
        async move { news }.boxed()
    }

    fn load_rows<'a>(
        &'a self,
        _: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>> {
        let rows = self.rows.lock();
        let found = entries.iter().map(|(key, _)| Some(Arc::new(Entry::new(rows.get(key)?)))).collect();
        async move { found }.boxed()
    }

    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved> {
        if self.is_full.load(Relaxed) {
            return async { Saved::No }.boxed();
        }
        for (key, entry) in &changes.rows {
            let rows = entry.take_rows(0..entry.rows().len()).unwrap();
            self.rows.lock().insert(*key, rows);
        }
        let mut kept = self.kept.lock();
        let kept = kept.entry(scope.key).or_default();
        let before = kept.version;
        kept.version += 1;
        let is_forgotten =
            |week: &i64| changes.forgotten.iter().any(|gone| weeks_in(gone.span).contains(week));
        let mut weeks: Vec<i64> = kept.cells.keys().copied().filter(is_forgotten).collect();
        weeks.extend(changes.cells.iter().map(|cell| cell.week));
        for week in weeks {
            let empty = || (0, Cell::empty(week));
            let (_, old) = kept.cells.remove(&week).unwrap_or_else(empty);
            let new = changes.cells.iter().find(|cell| cell.week == week);
            kept.cells.insert(week, (kept.version, lay_over(&old, &changes.forgotten, new)));
        }
        let after = kept.version;
        async move { Saved::Yes { before, after } }.boxed()
    }

    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>> {
        self.voids.lock().insert(what, at);
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

/// A tier as one of several processes sees it; each round trip takes a while.
pub(super) struct SharedTier {
    pub(super) tier: Arc<TestTier>,
    pub(super) process: usize,
}

/// The length of a round trip.
const TRIP: Duration = Duration::from_millis(5);

/// How long a turn lasts.
const TURN: Duration = Duration::from_secs(3);

impl Tier for SharedTier {
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews> {
        async move {
            tokio::time::sleep(TRIP).await;
            self.tier.load(scope, since).await
        }
        .boxed()
    }

    fn load_rows<'a>(
        &'a self,
        scope: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>> {
        async move {
            tokio::time::sleep(TRIP).await;
            self.tier.load_rows(scope, entries).await
        }
        .boxed()
    }

    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved> {
        async move {
            tokio::time::sleep(TRIP).await;
            let saved = self.tier.save(scope, changes).await;
            tokio::time::sleep(TRIP).await;
            saved
        }
        .boxed()
    }

    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>> {
        self.tier.void(what, at)
    }

    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>> {
        self.tier.voided(scopes)
    }

    fn take_turn<'a>(&'a self, scope: &'a TierScope, span: Span, since: TierVersion) -> BoxFuture<'a, Turn> {
        async move {
            *self.tier.loads.lock() += 1;
            tokio::time::sleep(TRIP).await;
            let news = self.tier.news(scope, since);
            let mut turns = self.tier.turns.lock();
            let now = Instant::now();
            let key = (scope.key, turn_of(span));
            let is_mine =
                turns.get(&key).is_none_or(|(process, until)| *process == self.process || *until <= now);
            if is_mine {
                turns.insert(key, (self.process, now + TURN));
            }
            Turn { is_mine, news }
        }
        .boxed()
    }

    fn end_turns(&self, scope: &TierScope, ended: &[i64]) {
        let is_over = |of: &ScopeKey, turn: &i64| *of == scope.key && ended.contains(turn);
        let mut turns = self.tier.turns.lock();
        turns.retain(|(of, week), (process, _)| *process != self.process || !is_over(of, week));
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn status(&self) -> TierStatus {
        self.tier.status()
    }
}
