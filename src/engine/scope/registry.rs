use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Scope;
use crate::domain::{AgentId, CallerId, CredentialId, Filters, Timestamp};
use crate::engine::freshness::Stagger;
use crate::engine::proof::DateSupport;
use crate::source::Subject;
use crate::store::{EntryOwner, ScopeKey, Store};
use crate::tier::TierScope;

/// The most scopes that are kept. The caller that holds most gives up its least recently used one, so that a
/// caller that tries one filter value after another neither fills the memory nor displaces others. A scope is
/// held by the caller that it was created for.
const MAX_SCOPES: usize = 4_096;

/// All scopes, by subject.
#[derive(Default)]
pub(in crate::engine) struct Scopes {
    registry: Mutex<Registry>,
    /// The number of scopes ever created.
    made: AtomicU64,
    /// Whether scopes record what the tier does not have yet.
    tracks_changes: bool,
}

/// The scopes, and who holds them.
///
/// # Invariants
/// All four name the same scopes. Every operation except a search for what to close takes logarithmic time.
#[derive(Default)]
struct Registry {
    by_key: HashMap<ScopeKey, Registered>,
    /// Scopes that differ only in their status filter, by the key of the one without it.
    kin: HashMap<ScopeKey, Vec<Arc<Scope>>>,
    /// The scopes of each caller, least recently used first.
    by_holder: HashMap<CallerId, BTreeMap<u64, ScopeKey>>,
    /// The number of scopes that each caller holds.
    sizes: BTreeSet<(usize, CallerId)>,
    /// Numbers the questions.
    asked: u64,
}

struct Registered {
    scope: Arc<Scope>,
    holder: CallerId,
    asked: u64,
}

impl Registry {
    /// Finds a scope and marks it as used.
    fn ask(&mut self, key: &ScopeKey) -> Option<Arc<Scope>> {
        let registered = self.by_key.get_mut(key)?;
        self.asked += 1;
        if let Some(held) = self.by_holder.get_mut(&registered.holder) {
            held.remove(&registered.asked);
            held.insert(self.asked, *key);
        }
        registered.asked = self.asked;
        Some(Arc::clone(&registered.scope))
    }

    fn add(&mut self, scope: Arc<Scope>, holder: CallerId) {
        self.asked += 1;
        self.kin.entry(kin_key(&scope.subject)).or_default().push(Arc::clone(&scope));
        self.resize(holder, |held, asked| held.insert(asked, scope.key));
        self.by_key.insert(scope.key, Registered { scope, holder, asked: self.asked });
    }

    fn remove(&mut self, key: &ScopeKey) -> Option<Arc<Scope>> {
        let Registered { scope, holder, asked } = self.by_key.remove(key)?;
        self.resize(holder, |held, _| held.remove(&asked));
        let kin_key = kin_key(&scope.subject);
        if let Some(kin) = self.kin.get_mut(&kin_key) {
            kin.retain(|other| other.key != *key);
            if kin.is_empty() {
                self.kin.remove(&kin_key);
            }
        }
        Some(scope)
    }

    /// Changes the number of scopes that a caller holds.
    fn resize<T>(&mut self, holder: CallerId, change: impl FnOnce(&mut BTreeMap<u64, ScopeKey>, u64) -> T) {
        let held = self.by_holder.entry(holder).or_default();
        self.sizes.remove(&(held.len(), holder));
        change(held, self.asked);
        if held.is_empty() {
            self.by_holder.remove(&holder);
        } else {
            self.sizes.insert((held.len(), holder));
        }
    }

    /// Gives up a scope if the limit is reached.
    fn make_place(&mut self, store: &dyn Store) {
        if self.by_key.len() >= MAX_SCOPES
            && let Some(key) = self.next_to_go()
            && let Some(scope) = self.remove(&key)
        {
            scope.close(store);
        }
    }

    /// The scope to give up: the least recently used one of the caller that holds most.
    fn next_to_go(&self) -> Option<ScopeKey> {
        let (_, holder) = self.sizes.last()?;
        self.by_holder.get(holder)?.values().next().copied()
    }
}

impl Scopes {
    /// An empty registry, whose scopes record changes if there is a tier.
    pub(in crate::engine) fn new(tracks_changes: bool) -> Self {
        Self { tracks_changes, ..Self::default() }
    }

    /// The scope of a subject, if there is one.
    pub(in crate::engine) fn find(&self, subject: &Subject) -> Option<Arc<Scope>> {
        self.registry.lock().by_key.get(&key_of(subject)).map(|registered| Arc::clone(&registered.scope))
    }

    /// The scope of a subject that is about to be read; it is created for `holder` if there is none.
    pub(in crate::engine) fn of(
        &self,
        subject: &Subject,
        holder: CallerId,
        store: &dyn Store,
        dates: DateSupport,
        now: Timestamp,
    ) -> Arc<Scope> {
        let mut registry = self.registry.lock();
        if let Some(scope) = registry.ask(&key_of(subject)) {
            scope.come_with(&subject.credential);
            scope.touch(now);
            return scope;
        }
        registry.make_place(store);
        let scope = self.unregistered(subject, holder, dates);
        scope.touch(now);
        registry.add(Arc::clone(&scope), holder);
        scope
    }

    /// Adds a restored scope, unless its subject has one.
    pub(in crate::engine) fn register(&self, scope: &Arc<Scope>, store: &dyn Store, now: Timestamp) {
        let mut registry = self.registry.lock();
        if registry.by_key.contains_key(&scope.key) {
            return;
        }
        registry.make_place(store);
        scope.touch(now);
        registry.add(Arc::clone(scope), scope.holder);
    }

    /// The scope of a subject that will not be read; if there is none, an empty one that displaces no other.
    pub(in crate::engine) fn of_unread(
        &self,
        subject: &Subject,
        dates: DateSupport,
        now: Timestamp,
    ) -> Arc<Scope> {
        match self.registry.lock().ask(&key_of(subject)) {
            Some(scope) => {
                scope.touch(now);
                scope
            }
            // Nothing will be kept of it, so nobody holds anything.
            None => self.unregistered(subject, CallerId::Key(subject.credential.id()), dates),
        }
    }

    /// A scope outside of the registry.
    pub(in crate::engine) fn unregistered(
        &self,
        subject: &Subject,
        holder: CallerId,
        dates: DateSupport,
    ) -> Arc<Scope> {
        let stagger = Stagger::of(self.made.fetch_add(1, Ordering::Relaxed));
        let owner = EntryOwner { scope: key_of(subject), holder };
        let scope = Scope::new(owner, stagger, subject.clone(), dates);
        if self.tracks_changes {
            scope.track();
        }
        Arc::new(scope)
    }

    /// The scopes that differ from a subject at most in their status filter.
    pub(in crate::engine) fn of_any_status(&self, wide: &Subject) -> Vec<Arc<Scope>> {
        self.registry.lock().kin.get(&kin_key(wide)).cloned().unwrap_or_default()
    }

    /// Closes every scope for which this is true.
    pub(in crate::engine) fn close(&self, store: &dyn Store, mut is_meant: impl FnMut(&Subject) -> bool) {
        let mut registry = self.registry.lock();
        let keys: Vec<_> = registry
            .by_key
            .iter()
            .filter(|(_, registered)| is_meant(&registered.scope.subject))
            .map(|(key, _)| *key)
            .collect();
        for scope in keys.iter().filter_map(|key| registry.remove(key)) {
            scope.close(store);
        }
    }

    /// All scopes.
    pub(in crate::engine) fn all(&self) -> Vec<Arc<Scope>> {
        self.registry.lock().by_key.values().map(|registered| Arc::clone(&registered.scope)).collect()
    }

    /// The number of scopes.
    pub(in crate::engine) fn len(&self) -> usize {
        self.registry.lock().by_key.len()
    }
}

/// The key that a scope shares with those that differ from it at most in their status filter.
fn kin_key(subject: &Subject) -> ScopeKey {
    key(subject.credential.id(), subject.agent, &subject.filters.without_status())
}

/// The key of a subject's scope.
pub(in crate::engine) fn key_of(subject: &Subject) -> ScopeKey {
    key(subject.credential.id(), subject.agent, &subject.filters)
}

/// The scope of a subject, for the tier.
pub(in crate::engine) fn tier_scope_of(subject: &Subject) -> TierScope {
    TierScope { key: key_of(subject), agent: subject.agent, credential: subject.credential.id() }
}

/// Different for any two subjects, by the strength of SHA-256 cut to 128 bits.
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;
    use crate::domain::Credential;
    use crate::store::testing::MapStore;

    fn subject(holder: u8, batch: usize) -> Subject {
        Subject {
            credential: Credential::new(CredentialId::new([holder; 16]), SecretString::from("bn-key")),
            agent: AgentId::new(Uuid::from_u128(1)),
            filters: Filters { batch_id: format!("{batch:032x}").parse().ok(), ..Filters::default() },
        }
    }

    fn register(scopes: &Scopes, holder: u8, batches: std::ops::Range<usize>) {
        for batch in batches {
            let caller = CallerId::Key(CredentialId::new([holder; 16]));
            scopes.of(
                &subject(holder, batch),
                caller,
                &MapStore::default(),
                DateSupport::Kept,
                Timestamp::MIN,
            );
        }
    }

    fn kept(scopes: &Scopes, holder: u8, batches: std::ops::Range<usize>) -> usize {
        batches.filter(|batch| scopes.find(&subject(holder, *batch)).is_some()).count()
    }

    #[test]
    fn the_caller_that_holds_most_gives_first() {
        let scopes = Scopes::default();
        register(&scopes, 1, 0..10);
        register(&scopes, 2, 0..2 * MAX_SCOPES);
        assert_eq!((scopes.len(), kept(&scopes, 1, 0..10)), (MAX_SCOPES, 10));
        // Of its own, the latest stay.
        let left = MAX_SCOPES - 10;
        assert_eq!(kept(&scopes, 2, 2 * MAX_SCOPES - left..2 * MAX_SCOPES), left);
        // A newcomer takes from it as well, until both hold as many.
        register(&scopes, 3, 0..MAX_SCOPES);
        assert_eq!((scopes.len(), kept(&scopes, 1, 0..10)), (MAX_SCOPES, 10));
        assert!(kept(&scopes, 2, 0..2 * MAX_SCOPES).abs_diff(kept(&scopes, 3, 0..MAX_SCOPES)) <= 1);
    }

    #[test]
    fn tokens_of_one_held_key_hold_their_own() {
        let scopes = Scopes::default();
        for (token, batches) in [(1, 0..10), (2, 10..2 * MAX_SCOPES)] {
            for batch in batches {
                let caller = CallerId::Token([token; 16]);
                scopes.of(
                    &subject(9, batch),
                    caller,
                    &MapStore::default(),
                    DateSupport::Kept,
                    Timestamp::MIN,
                );
            }
        }
        assert_eq!((scopes.len(), kept(&scopes, 9, 0..10)), (MAX_SCOPES, 10));
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let scopes = Scopes::default();
        register(&scopes, 1, 0..MAX_SCOPES);
        register(&scopes, 1, 0..1);
        let _asked = scopes.of_unread(&subject(1, 1), DateSupport::Kept, Timestamp::MIN);
        register(&scopes, 1, MAX_SCOPES..MAX_SCOPES + 2);
        assert_eq!((kept(&scopes, 1, 0..2), kept(&scopes, 1, 2..4)), (2, 0));
    }

    #[test]
    fn what_nothing_is_read_of_takes_no_place() {
        let scopes = Scopes::default();
        for batch in 0..2 * MAX_SCOPES {
            let _empty = scopes.of_unread(&subject(2, batch), DateSupport::Kept, Timestamp::MIN);
        }
        assert_eq!(scopes.len(), 0);
    }

    #[test]
    fn closed_scopes_leave_nothing_behind() {
        let scopes = Scopes::default();
        register(&scopes, 1, 0..5);
        register(&scopes, 2, 0..5);
        scopes.close(&MapStore::default(), |subject| subject.credential.id() == CredentialId::new([1; 16]));
        let registry = scopes.registry.lock();
        assert_eq!((registry.by_key.len(), registry.kin.len(), registry.by_holder.len()), (5, 5, 1));
        assert_eq!(
            registry.sizes.iter().collect::<Vec<_>>(),
            [&(5, CallerId::Key(CredentialId::new([2; 16])))]
        );
    }
}
