use std::sync::Arc;

use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::domain::{DerivedBudget, Entry};
use crate::store::EntryKey;

/// The entries, and the room beside them.
#[derive(Clone, Debug)]
pub(super) struct EntryCache {
    pub(super) entries: Cache<EntryKey, Arc<Entry>>,
    pub(super) derived: Arc<DerivedBudget>,
    pub(super) capacity: u64,
}

impl EntryCache {
    /// Weighs an entry again, if it is still kept.
    pub(super) fn reweigh(&self, key: EntryKey) {
        let _ = self.entries.entry(key).and_compute_with(|kept| match kept {
            Some(kept) => Op::Put(kept.into_value()),
            None => Op::Nop,
        });
        self.share_out();
    }

    /// Drops entries that are too much, and leaves the rest of the bytes to plain forms.
    ///
    /// Moka evicts in passing, some time later; entries that come quickly would hold twice the capacity until then.
    pub(super) fn share_out(&self) {
        self.entries.run_pending_tasks();
        self.derived.set_most(self.capacity.saturating_sub(self.entries.weighted_size()));
    }
}
