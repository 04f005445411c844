use std::time::Duration;

use moka::sync::Cache;

use crate::domain::CredentialId;

use super::gate::KeyAcceptance;

/// The most keys that are remembered; who is forgotten shares the unproven keys' part for one request.
const MOST: u64 = 10_000;

/// How long after its last use a key is remembered.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Which keys upstream accepted. Says nothing about what they may read.
#[derive(Debug)]
pub(super) struct Accepted(Cache<CredentialId, ()>);

impl Accepted {
    pub(super) fn new() -> Self {
        // Recency alone: by frequency, a storm of new keys could keep a new good one out.
        let policy = moka::policy::EvictionPolicy::lru();
        Self(Cache::builder().max_capacity(MOST).time_to_idle(IDLE).eviction_policy(policy).build())
    }

    pub(super) fn standing(&self, credential: CredentialId) -> KeyAcceptance {
        if self.0.get(&credential).is_some() { KeyAcceptance::Accepted } else { KeyAcceptance::Unproven }
    }

    /// Upstream accepted it.
    pub(super) fn add(&self, credential: CredentialId) {
        if !self.0.contains_key(&credential) {
            self.0.insert(credential, ());
        }
    }

    /// Upstream refused it.
    pub(super) fn remove(&self, credential: CredentialId) {
        self.0.invalidate(&credential);
    }
}
