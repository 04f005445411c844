use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::held::HeldEntries;
use crate::domain::{DerivedBudget, Entry};
use crate::store::EntryKey;

/// The bytes that are held for an entry in addition to its own weight: a slot of the hash table at its usual load, its place in
/// its scope, its allocation and reference counts. Added up from the sizes of the types and rounded up. They hardly matter for
/// entries of tens of kilobytes, but without them a cache full of tiny entries would seem to weigh nothing.
pub(super) const BOOKKEEPING: u64 = 300;

/// What the store shares with its deflating thread: the entries, and the room that they leave.
#[derive(Debug)]
pub(super) struct SharedEntries {
    pub(super) held: Mutex<HeldEntries>,
    pub(super) derived: Arc<DerivedBudget>,
    /// Bytes of all indexes, including those that only the engine holds.
    pub(super) indexes: Arc<AtomicU64>,
    pub(super) capacity: u64,
    pub(super) started: Instant,
    pub(super) evictions: AtomicU64,
}

impl SharedEntries {
    pub(super) fn lock(&self) -> MutexGuard<'_, HeldEntries> {
        self.held.lock()
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The most bytes that entries and their forms may take.
    pub(super) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.indexes.load(Relaxed))
    }

    /// Weighs an entry again, if it is still held.
    pub(super) fn reweigh(&self, key: &EntryKey) {
        self.lock().reweigh(key, weight);
        self.make_room();
    }

    /// Drops surplus entries, and leaves the rest of the bytes to derived forms.
    pub(super) fn make_room(&self) {
        let now = self.now();
        let mut dropped = Vec::new();
        let left = {
            let room = self.room();
            let mut held = self.lock();
            while held.bytes() > room
                && let Some(key) = held.next_to_evict(now)
            {
                dropped.extend(held.remove(&key));
            }
            room.saturating_sub(held.bytes())
        };
        self.evictions.fetch_add(dropped.len() as u64, Relaxed);
        self.derived.set_most(left);
    }
}

/// The bytes that an entry takes, bookkeeping included.
pub(super) fn weight(entry: &Entry) -> u64 {
    u64::try_from(entry.weight()).unwrap_or(u64::MAX).saturating_add(BOOKKEEPING)
}
