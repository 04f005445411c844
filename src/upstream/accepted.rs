use std::time::Duration;

use moka::sync::Cache;

use crate::domain::CredentialId;

use super::gate::KeyAcceptance;

/// The most keys that are remembered. A forgotten key counts as unproven for one request.
const MOST: u64 = 10_000;

/// How long a key is remembered after its last use.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys that upstream accepted. Says nothing about what they may read.
#[derive(Debug)]
pub(super) struct Accepted(Cache<CredentialId, ()>);

impl Accepted {
    pub(super) fn new() -> Self {
        // Evict by recency only. By frequency, a flood of new keys could keep out a new valid one.
        let policy = moka::policy::EvictionPolicy::lru();
        Self(Cache::builder().max_capacity(MOST).time_to_idle(IDLE).eviction_policy(policy).build())
    }

    pub(super) fn standing(&self, credential: CredentialId) -> KeyAcceptance {
        if self.0.get(&credential).is_some() { KeyAcceptance::Accepted } else { KeyAcceptance::Unproven }
    }

    /// Records that upstream accepted the key.
    pub(super) fn add(&self, credential: CredentialId) {
        if !self.0.contains_key(&credential) {
            self.0.insert(credential, ());
        }
    }

    /// Records that upstream refused the key.
    pub(super) fn remove(&self, credential: CredentialId) {
        self.0.invalidate(&credential);
    }
}
