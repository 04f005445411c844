//! A tier in Redis or Valkey, which several replicas share.
//!
//! Everything in it is a [sealed](crate::sealed) record. Any process may write at any time: a process reads a cell, merges it,
//! and writes it if the server's cell has not changed since. A server that is away, full, flushed or slow costs one command's
//! timeout once; after that, rows are read from upstream.
//!
//! Times in records are by the wall clocks of the machines that wrote them, which are assumed to be synchronized.

mod backoff;
mod budget;
mod check;
mod connection;
mod kept_cells;
mod kept_rows;
mod link;
mod reply;
mod scripts;
mod server;
mod settings;
mod shared_marks;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::sleep;

use self::budget::BudgetScope;
pub use self::budget::{BudgetTerms, SharedBudget};
pub use self::check::check;
use self::scripts::{RELEASE, claim_key};
use self::server::Server;
pub use self::settings::{ServerAddress, ServerSettings};
use self::shared_marks::SharedMarks;
use self::state::SharedReplicas;
use crate::clock::SteadyClock;
use crate::domain::{Entry, EntryIndex, Span, Timestamp};
use crate::sealed::{SampledLine, SecretSource, TierCounters};
use crate::shutdown::Shutdown;
use crate::store::EntryKey;
use crate::telemetry::{TierReadings, TierServerReadings, TierStateReading};
use crate::tier::{
    Saved, ScopeChanges, Tier, TierKind, TierNews, TierScope, TierStatus, TierUnavailable, TierVersion, Turn,
    Voided, turn_of,
};

/// How often the secret's file is checked for changes.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// A tier in a server, shared by several processes.
pub struct Replicas {
    inner: Arc<SharedReplicas>,
    /// Reloads the secret. A drain does not wait for it.
    tasks: Shutdown,
    /// Ends turns. A drain waits for these tasks.
    shutdown: Shutdown,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").finish_non_exhaustive()
    }
}

impl Replicas {
    /// Begins to connect, without waiting for the server. `clock` must be the engine's. Rows older than `max_age` are neither
    /// served nor kept.
    pub fn open(
        settings: &ServerSettings,
        secret: SecretSource,
        max_age: Duration,
        clock: &SteadyClock,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let inner = Arc::new(SharedReplicas {
            server: Arc::new(Server::open(settings, clock)),
            secret: Mutex::new(Arc::new(secret.secret)),
            marks: SharedMarks::default(),
            counters: TierCounters::default(),
            claims: Default::default(),
            conflicts: AtomicU64::new(0),
            clock: clock.clone(),
            max_age,
            id: format!("{:032x}", rand::random::<u128>()).into_bytes(),
            unreadable: SampledLine::default(),
            cannot_write: SampledLine::default(),
        });
        let tasks = Shutdown::default();
        let (reloading, ending, mut file) = (Arc::clone(&inner), tasks.clone(), secret.file);
        let reload = async move {
            loop {
                sleep(RELOAD_EVERY).await;
                let looked = tokio::task::spawn_blocking(move || (file.changed(), file)).await;
                let Ok((changed, looked_at)) = looked else { return };
                file = looked_at;
                if let Some(secret) = changed {
                    *reloading.secret.lock() = Arc::new(secret);
                }
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = reload => {}
                () = ending.end_ordered() => {}
            }
        });
        Arc::new(Self { inner, tasks, shutdown: shutdown.clone() })
    }

    /// Opens the budget that processes share through the server: one for all credentials, or one for each.
    pub fn share_budget(&self, terms: BudgetTerms, is_for_each: bool) -> Arc<SharedBudget> {
        let scope = if is_for_each {
            let inner = Arc::clone(&self.inner);
            BudgetScope::Credential(Box::new(move |credential| {
                inner.secret().last().names.voided(&Voided::Credential(credential)).to_string()
            }))
        } else {
            BudgetScope::Everyone
        };
        let (server, clock) = (Arc::clone(&self.inner.server), self.inner.clock.clone());
        SharedBudget::open(terms, scope, server, clock, &self.shutdown)
    }

    /// What it has counted since the start.
    pub fn readings(&self) -> TierReadings {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let inner = &self.inner;
        let server = TierServerReadings {
            reconnects: inner.server.reconnects(),
            conflicts: get(&inner.conflicts),
            claims: vec![("mine", get(&inner.claims[0])), ("theirs", get(&inner.claims[1]))],
            ..TierServerReadings::default()
        };
        TierReadings {
            state: if inner.server.is_up() { TierStateReading::Used } else { TierStateReading::Away },
            server,
            ..inner.counters.readings()
        }
    }
}

#[cfg(test)]
impl Replicas {
    async fn until_up(&self) {
        self.inner.server.up_within(Duration::from_secs(30)).await.unwrap();
    }

    fn clock(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Tier for Replicas {
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews> {
        async move { self.inner.news(scope, since, None).await.news }.boxed()
    }

    fn load_rows<'a>(
        &'a self,
        scope: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>> {
        let _ = scope;
        async move {
            let (began, secret) = (Instant::now(), self.inner.secret());
            let rows = kept_rows::load(&self.inner.server, &secret, &entries, &self.inner.counters).await;
            self.inner.counters.read_for(began.elapsed());
            rows
        }
        .boxed()
    }

    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved> {
        async move { self.inner.save(scope, &changes).await }.boxed()
    }

    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>> {
        async move {
            let secret = self.inner.secret();
            secret.all().iter().for_each(|keys| self.inner.marks.add(&what, at, keys));
            self.inner.sync_marks(&secret).await.map_err(|_| TierUnavailable)
        }
        .boxed()
    }

    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>> {
        async move {
            let secret = self.inner.secret();
            // If the server is away, the marks that this process knows still hold.
            let _may_be_away = self.inner.sync_marks(&secret).await;
            let until =
                |scope: &TierScope| self.inner.void_until(&secret, scope).map(|until| (*scope, until));
            scopes.iter().filter_map(until).collect()
        }
        .boxed()
    }

    fn take_turn<'a>(&'a self, scope: &'a TierScope, span: Span, since: TierVersion) -> BoxFuture<'a, Turn> {
        async move { self.inner.news(scope, since, Some(turn_of(span))).await }.boxed()
    }

    fn end_turns(&self, scope: &TierScope, turns: &[i64]) {
        if turns.is_empty() {
            return;
        }
        let (inner, secret) = (Arc::clone(&self.inner), self.inner.secret());
        let claims: Vec<_> = turns.iter().map(|week| claim_key(secret.first(), &scope.key, *week)).collect();
        self.shutdown.spawn(async move {
            let claims: Vec<_> = claims.iter().map(Vec::as_slice).collect();
            let _will_expire = inner.server.script(&RELEASE, &claims, &[&inner.id]).await;
        });
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn status(&self) -> TierStatus {
        TierStatus { kind: TierKind::Redis, is_ok: self.inner.server.is_up() }
    }
}
