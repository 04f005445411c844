use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::lane::{BudgetLane, LaneReadings};
use super::link::BudgetLink;
use super::terms::BudgetTerms;
use crate::clock::SteadyClock;
use crate::domain::{CredentialId, Timestamp};
use crate::replicas::server::Server;
use crate::shutdown::Shutdown;
use crate::telemetry::SharedBudgetReadings;
use crate::tier::{BudgetChange, RequestTimes, SentRequest};

/// The most windows. Further credentials share one.
const MOST: usize = 256;

/// How often the drain is checked for its end.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// Whose requests a window counts.
pub(in crate::replicas) enum BudgetScope {
    /// Everyone's.
    Everyone,
    /// Each credential's. The function returns a name that reveals nothing about the key.
    Credential(Box<dyn Fn(CredentialId) -> String + Send + Sync>),
}

/// A budget that processes share.
pub struct SharedBudget {
    link: Arc<BudgetLink>,
    scope: BudgetScope,
    lanes: Mutex<HashMap<CredentialId, Arc<BudgetLane>>>,
    /// The tasks that drive lanes.
    tasks: Shutdown,
}

impl SharedBudget {
    /// Shares a budget through a server, which may be away. Once everything else is drained, it tells the other processes that
    /// this one has stopped sending.
    pub(in crate::replicas) fn open(
        terms: BudgetTerms,
        scope: BudgetScope,
        server: Arc<Server>,
        clock: SteadyClock,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let expiry = match scope {
            BudgetScope::Everyone => 0,
            BudgetScope::Credential(_) => 2 * terms.keep(),
        };
        let link = Arc::new(BudgetLink::new(terms, expiry, server, clock));
        let budget = Arc::new(Self { link, scope, lanes: Mutex::default(), tasks: Shutdown::default() });
        if let BudgetScope::Everyone = budget.scope {
            // Now, so that the others know of this process before its first request.
            budget.lanes.lock().insert(everyone(), budget.start(everyone()));
        }
        let (leaving, drained) = (Arc::clone(&budget), shutdown.clone());
        shutdown.spawn(async move { leaving.leave(&drained).await });
        budget
    }

    /// The budget as the gate uses it.
    pub fn times(self: &Arc<Self>) -> Arc<dyn RequestTimes> {
        Arc::new(SharedTimes(Arc::clone(self)))
    }

    /// What the metrics show of all windows: the most members, the least that is left, and sums.
    pub fn readings(&self) -> SharedBudgetReadings {
        let now = self.link.now();
        let lanes: Vec<_> = self.all().iter().map(|lane| lane.readings(now)).collect();
        let sum = |of: fn(&LaneReadings) -> u64| lanes.iter().map(of).sum::<u64>();
        SharedBudgetReadings {
            members: lanes.iter().map(|lane| u64::from(lane.members)).max().unwrap_or_default(),
            left: lanes.iter().map(|lane| u64::from(lane.left)).min().unwrap_or_default(),
            epochs: sum(|lane| lane.epochs),
            alone: Duration::from_millis(sum(|lane| u64::try_from(lane.alone).unwrap_or_default())),
        }
    }

    /// Queues a request for the window of its credential, and opens that window if there is none. The request may be sent when
    /// the receiver gets a value.
    fn line_up(self: &Arc<Self>, credential: CredentialId) -> oneshot::Receiver<()> {
        let mut lanes = self.lanes.lock();
        let id = match self.scope {
            BudgetScope::Everyone => everyone(),
            BudgetScope::Credential(_) if lanes.contains_key(&credential) || lanes.len() < MOST => credential,
            BudgetScope::Credential(_) => everyone(),
        };
        lanes.entry(id).or_insert_with(|| self.start(id)).line_up(self.link.now())
    }

    fn start(self: &Arc<Self>, id: CredentialId) -> Arc<BudgetLane> {
        let lane = Arc::new(BudgetLane::new(id, self.keys(id), &self.link));
        let (budget, driven) = (Arc::clone(self), Arc::clone(&lane));
        self.tasks.spawn(async move {
            let tasks = budget.tasks.clone();
            tokio::select! {
                () = budget.drive(id, &driven) => {}
                () = tasks.end_ordered() => {}
            }
        });
        lane
    }

    /// Drives a window until it has been idle for its expiry.
    async fn drive(&self, id: CredentialId, lane: &BudgetLane) {
        loop {
            lane.drive(&self.link).await;
            let mut lanes = self.lanes.lock();
            if lane.is_idle(&self.link) {
                lanes.remove(&id);
                return;
            }
        }
    }

    fn keys(&self, id: CredentialId) -> [Vec<u8>; 2] {
        let name = match &self.scope {
            BudgetScope::Credential(name) if id != everyone() => format!("{{budget:{}}}", name(id)),
            BudgetScope::Credential(_) | BudgetScope::Everyone => "{budget}".to_owned(),
        };
        ["window", "members"].map(|part| format!("ff1:{name}:{part}").into_bytes())
    }

    /// Waits for the end of the drain, and says goodbye to the other processes.
    async fn leave(&self, shutdown: &Shutdown) {
        shutdown.drain_begun().await;
        // This task itself is the last one that runs.
        while shutdown.running() > 1 && !shutdown.is_ended() {
            tokio::select! {
                () = tokio::time::sleep(DRAIN_STEP) => {}
                () = shutdown.end_ordered() => {}
            }
        }
        self.tasks.end();
        self.tasks.finished().await;
        let lanes = self.all();
        join_all(lanes.iter().map(|lane| lane.say_goodbye(&self.link))).await;
    }

    fn all(&self) -> Vec<Arc<BudgetLane>> {
        self.lanes.lock().values().cloned().collect()
    }
}

#[derive(Debug)]
struct SharedTimes(Arc<SharedBudget>);

impl RequestTimes for SharedTimes {
    fn sent_by_others(&self) -> Vec<SentRequest> {
        self.0.all().iter().flat_map(|lane| lane.sent_by_others(&self.0.link)).collect()
    }

    fn note(&self, request: SentRequest) -> BoxFuture<'_, ()> {
        async move {
            if self.0.line_up(request.credential).await.is_err() {
                // The process has said goodbye, so the request must never be sent.
                pending::<()>().await;
            }
        }
        .boxed()
    }

    fn changes(&self) -> Vec<BudgetChange> {
        let changes = |lane: &Arc<BudgetLane>| {
            let (credential, kinds) = lane.changes(&self.0.link);
            kinds.into_iter().map(move |kind| BudgetChange { credential, kind })
        };
        self.0.all().iter().flat_map(changes).collect()
    }

    fn limited(&self, credential: CredentialId, until: Timestamp) {
        let lanes = self.0.lanes.lock();
        if let Some(lane) = lanes.get(&credential).or_else(|| lanes.get(&everyone())) {
            lane.limited(self.0.link.millis(until));
        }
    }
}

/// Stands for all credentials.
const fn everyone() -> CredentialId {
    CredentialId::new([0; 16])
}

impl fmt::Debug for SharedBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBudget").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
