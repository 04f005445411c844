use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::beat::Beat;
use super::reading::Dates;
use super::scope::{Scope, ScopeKey};
use crate::domain::{AgentId, CredentialId, Filters, Timestamp};
use crate::source::Subject;
use crate::store::Store;

/// The most scopes that are kept. Nobody fills the memory by asking for one filter value after another: the scope
/// that nobody asked for longest makes room.
const MAX_SCOPES: usize = 4_096;

/// All scopes, by what they are of.
#[derive(Default)]
pub(super) struct Scopes {
    by_key: Mutex<HashMap<ScopeKey, Arc<Scope>>>,
    /// How many were ever made.
    made: AtomicU64,
}

impl Scopes {
    fn lock(&self) -> MutexGuard<'_, HashMap<ScopeKey, Arc<Scope>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scope of a subject, if anything was ever asked of it.
    pub(super) fn find(&self, subject: &Subject) -> Option<Arc<Scope>> {
        self.lock().get(&key(subject.credential.id(), subject.agent, &subject.filters)).cloned()
    }

    /// The scope of a subject, made if there is none. `dates` is what is known of upstream's dealing with dates.
    pub(super) fn of(
        &self,
        subject: &Subject,
        store: &dyn Store,
        dates: Dates,
        now: Timestamp,
    ) -> Arc<Scope> {
        let key = key(subject.credential.id(), subject.agent, &subject.filters);
        let mut scopes = self.lock();
        if let Some(scope) = scopes.get(&key) {
            scope.come_with(&subject.credential);
            scope.touch(now);
            return Arc::clone(scope);
        }
        if scopes.len() >= MAX_SCOPES
            && let Some(oldest) = scopes.values().min_by_key(|scope| scope.asked_at()).map(|scope| scope.key)
            && let Some(oldest) = scopes.remove(&oldest)
        {
            oldest.close(store);
        }
        let beat = Beat::of(self.made.fetch_add(1, Ordering::Relaxed));
        let scope = Arc::new(Scope::new(key, beat, subject.clone()));
        if dates == Dates::Ignored {
            scope.learned.dates_are_not_sent();
        }
        scope.touch(now);
        scopes.insert(key, Arc::clone(&scope));
        scope
    }

    /// The scopes that differ from a subject at most in the status they are filtered by.
    pub(super) fn of_any_status(&self, wide: &Subject) -> Vec<Arc<Scope>> {
        let is_kin = |scope: &&Arc<Scope>| {
            let subject = &scope.subject;
            subject.agent == wide.agent
                && subject.credential.id() == wide.credential.id()
                && subject.filters.without_status() == wide.filters.without_status()
        };
        self.lock().values().filter(is_kin).cloned().collect()
    }

    /// Closes every scope of which this is true.
    pub(super) fn close(&self, store: &dyn Store, mut is_meant: impl FnMut(&Subject) -> bool) {
        let mut scopes = self.lock();
        scopes.retain(|_, scope| {
            let goes = is_meant(&scope.subject);
            if goes {
                scope.close(store);
            }
            !goes
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// What a subject is known by.
pub(super) type Key = ScopeKey;

/// The key of a subject's scope.
pub(super) fn key_of(subject: &Subject) -> Key {
    key(subject.credential.id(), subject.agent, &subject.filters)
}

/// Equal on no two subjects, by the strength of SHA-256 cut to 128 bits.
fn key(credential: CredentialId, agent: AgentId, filters: &Filters) -> ScopeKey {
    let mut hash = Sha256::new();
    hash.update(credential.as_bytes());
    hash.update(agent.as_bytes());
    for (name, value) in filters.pairs() {
        // Neither names nor values hold a zero byte.
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    let full = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}
