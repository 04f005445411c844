use std::sync::Arc;

use super::access::Access;
use super::background::Background;
use super::changes::ChangeLogs;
use super::memory::ResponseMemory;
use super::page_cache::PageCache;
use super::parts::Parts;
use super::prefetch::Prefetches;
use super::restore::Restores;
use super::scope::{Reads, Scopes};
use super::terms::MemoryBounds;

/// The state that all questions share.
pub(super) struct SharedState {
    pub(super) parts: Arc<Parts>,
    pub(super) access: Arc<Access>,
    pub(super) scopes: Arc<Scopes>,
    pub(super) reads: Arc<Reads>,
    pub(super) prefetches: Prefetches,
    pub(super) restores: Restores,
    pub(super) pages: PageCache,
    pub(super) background: Background,
    pub(super) memory: ResponseMemory,
    pub(super) changes: ChangeLogs,
}

impl SharedState {
    pub(super) fn new(parts: Parts, bounds: MemoryBounds) -> Self {
        let shutdown = parts.shutdown.clone();
        let parts = Arc::new(parts);
        let access = Access::new(
            Arc::clone(&parts.source),
            parts.clock.clone(),
            shutdown.clone(),
            parts.settings.stale_if_error,
        );
        let access = Arc::new(access);
        let scopes = Arc::new(Scopes::new(parts.tier.is_some()));
        Self {
            reads: Arc::new(Reads::new(Arc::clone(&parts), Arc::clone(&access), Arc::clone(&scopes))),
            prefetches: Prefetches::default(),
            restores: Restores::new(&parts, &scopes, &access),
            pages: PageCache::new(bounds.relayed_pages, shutdown.clone()),
            background: Background::new(shutdown),
            memory: ResponseMemory::new(bounds.responses),
            changes: ChangeLogs::new(bounds.change_logs),
            scopes,
            parts,
            access,
        }
    }
}
