//! The cache of upstream's own pages, and the pages that are being fetched.

use std::sync::Arc;

use bytes::Bytes;

use super::single_flight::SingleFlight;
use crate::domain::{AgentId, CredentialId, Digest, EntryIndex, Timestamp};
use crate::shutdown::Shutdown;
use crate::source::SourceError;

/// The key of a stored page.
pub(super) type RelayKey = (CredentialId, AgentId, Arc<str>);
/// The outcome of a fetch.
pub(super) type Fetched = Result<Arc<KeptPage>, SourceError>;

/// A stored page.
#[derive(Debug)]
pub(super) struct KeptPage {
    pub(super) body: Bytes,
    /// A digest of the body.
    pub(super) digest: Digest,
    /// Its rows, which decide how old it may get; `None` if the body can't be parsed as a page.
    pub(super) index: Option<EntryIndex>,
    pub(super) read_at: Timestamp,
    /// The latest `created_at` that it can have; `None` if that was the present.
    pub(super) to: Option<Timestamp>,
}

/// The stored pages, and those being fetched.
pub(super) struct PageCache {
    pub(super) kept: moka::sync::Cache<RelayKey, Arc<KeptPage>>,
    pub(super) fetching: SingleFlight<RelayKey, Fetched>,
}

impl PageCache {
    pub(super) fn new(max_bytes: u64, shutdown: Shutdown) -> Self {
        let weigh = |key: &RelayKey, kept: &Arc<KeptPage>| {
            let index = kept.index.as_ref().map_or(0, EntryIndex::weight);
            u32::try_from(key.2.len() + kept.body.len() + index + 512).unwrap_or(u32::MAX)
        };
        let kept = moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Self { kept, fetching: SingleFlight::new(shutdown) }
    }

    pub(super) fn drop_credential(&self, credential: CredentialId, agent: Option<AgentId>) {
        self.drop_where(|key| key.0 == credential && agent.is_none_or(|agent| key.1 == agent));
    }

    pub(super) fn forget(&self, agent: AgentId) {
        self.drop_where(|key| key.1 == agent);
    }

    fn drop_where(&self, is_meant: impl Fn(&RelayKey) -> bool) {
        // Otherwise, a fetch in progress would be stored afterwards.
        self.fetching.forget(&is_meant);
        let keys: Vec<Arc<RelayKey>> =
            self.kept.iter().map(|(key, _)| key).filter(|key| is_meant(key)).collect();
        keys.iter().for_each(|key| self.kept.invalidate(&**key));
    }
}
