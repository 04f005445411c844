//! Where entries are kept: in memory, within a number of bytes.
//!
//! # Choices
//! - **LRU, not TinyLFU.** TinyLFU guards what is asked for often against what is asked for once, and so refuses a
//!   walk that is new time and again once the cache is hot: the first dashboard of the day would never be kept. LRU
//!   keeps what was read last. What it is bad at, a walk larger than the cache that is asked for in a circle, is
//!   bounded by [`LARGEST_SHARE`] for a single entry, and is slow under either.
//! - **No times to live.** How long a row is good for is the engine's to know; here bytes alone decide.
//! - **Evictions are not told.** An entry that is gone is a gap when it is looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::Entry;
use crate::store::{EntryKey, Store};

/// What moka and the allocator hold for an entry beside its own weight: the key, twice; the value's box and the
/// reference counts; a node in each of two queues; a slot of the hash table at its usual load. Counted from their
/// types and rounded up: beside entries of hundreds of kilobytes it hardly matters, and without it a cache full of
/// empty entries would weigh nothing.
const BOOKKEEPING: u64 = 400;

/// The part of the cache that a single entry may take; larger ones are given and not kept. One that is as large as the
/// cache would drive out everything else, and be driven out by the next.
const LARGEST_SHARE: u64 = 4;

/// Entries in memory, the least recently used ones dropped when the bytes run out.
#[derive(Debug)]
pub struct MokaStore {
    entries: Cache<EntryKey, Arc<Entry>>,
    largest: u64,
    evictions: Arc<AtomicU64>,
    refusals: AtomicU64,
}

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes held, bookkeeping included.
    pub bytes: u64,
    /// Entries held.
    pub entries: u64,
    /// Entries that were dropped for want of room, since the start.
    pub evictions: u64,
    /// Entries that were too large to be kept, since the start.
    pub refusals: u64,
}

impl MokaStore {
    /// A store that holds this many bytes, bookkeeping included.
    pub fn new(capacity: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&evictions);
        let entries = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(weight(entry)).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    count.fetch_add(1, Relaxed);
                }
            })
            .build();
        // Moka counts in u32 per entry; what does not fit would be weighed too lightly.
        let largest = (capacity / LARGEST_SHARE).min(u64::from(u32::MAX));
        Self { entries, largest, evictions, refusals: AtomicU64::new(0) }
    }

    /// What it holds now.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            bytes: self.entries.weighted_size(),
            entries: self.entries.entry_count(),
            evictions: self.evictions.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
        }
    }
}

/// The bytes that an entry costs the process.
fn weight(entry: &Entry) -> u64 {
    u64::try_from(entry.weight()).unwrap_or(u64::MAX).saturating_add(BOOKKEEPING)
}

impl Store for MokaStore {
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    fn put(&self, key: EntryKey, entry: Arc<Entry>) {
        if weight(&entry) > self.largest {
            self.refusals.fetch_add(1, Relaxed);
            return;
        }
        self.entries.insert(key, entry);
        // Moka evicts in passing, some time later; entries of megabytes that come quickly would hold twice the
        // capacity until then.
        self.entries.run_pending_tasks();
    }

    fn remove(&self, key: &EntryKey) {
        self.entries.invalidate(key);
        self.entries.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{Digest, NewRow, Row, Timestamp};

    fn entry(bytes: usize) -> Arc<Entry> {
        let at = Timestamp::from_micros(0);
        let row = Row {
            id: "id".into(),
            created_at: Some(at),
            updated_at: None,
            status: None,
            bytes: Bytes::from(vec![b'x'; bytes]),
        };
        Arc::new(Entry::new(&[NewRow { row, created_at: at, read_at: at, digest: Digest::default() }]))
    }

    const fn key(number: u64) -> EntryKey {
        EntryKey { scope: [0; 16], number }
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let store = MokaStore::new(1 << 20);
        for number in 0..500 {
            store.put(key(number), entry(10_000));
            assert!(store.stats().bytes <= 1 << 20);
        }
        let stats = store.stats();
        assert_eq!(stats.evictions + stats.entries, 500);
        assert!(stats.entries > 90, "{stats:?}");
    }

    #[test]
    fn weighs_more_than_the_rows_alone() {
        let store = MokaStore::new(1 << 20);
        store.put(key(1), entry(1_000));
        assert!(store.stats().bytes > 1_000 + BOOKKEEPING);
    }

    #[test]
    fn keeps_a_new_walk_although_the_old_one_was_asked_for_often() {
        let store = MokaStore::new(1 << 20);
        (0..50).for_each(|number| store.put(key(number), entry(20_000)));
        for _ in 0..20 {
            (0..50).for_each(|number| drop(store.get(&key(number))));
        }
        (100..140).for_each(|number| store.put(key(number), entry(20_000)));
        assert!((100..140).all(|number| store.get(&key(number)).is_some()));
    }

    #[test]
    fn does_not_keep_an_entry_that_would_drive_out_the_others() {
        let store = MokaStore::new(1 << 20);
        store.put(key(1), entry(1_000));
        store.put(key(2), entry(300_000));
        assert!(store.get(&key(1)).is_some() && store.get(&key(2)).is_none());
        assert_eq!(store.stats().refusals, 1);
    }

    #[test]
    fn forgets_what_is_removed() {
        let store = MokaStore::new(1 << 20);
        store.put(key(1), entry(1_000));
        store.remove(&key(1));
        assert!(store.get(&key(1)).is_none());
        assert_eq!((store.stats().bytes, store.stats().evictions), (0, 0));
    }
}
