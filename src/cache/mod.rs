//! A store in memory that holds a bounded number of bytes.
//!
//! # Choices
//! - **Its own eviction order instead of a general-purpose cache.** See [`held`] for the order, and the decision page on
//!   entries for alternatives that were tried.
//! - **Entries come first.** They are held deflated. Other forms of their rows, mostly plain bytes, are made on demand. They
//!   are kept only in the room that entries leave, and are dropped when entries need it.
//! - **Deflated in the background.** Rows are first served as they arrived. A thread deflates them, and deflates them with
//!   more effort when it has nothing else to do. See [`deflater`].
//! - **No times to live.** The engine knows how long a row is fresh; here only bytes count.
//! - **Evictions are not reported.** An evicted entry becomes a gap when it is looked up.

mod deflater;
mod held;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use self::deflater::Deflater;
use self::shared::{SharedEntries, weight};
use crate::domain::{CallerId, Entry, EntryIndex};
use crate::store::{EntryKey, Store};
use crate::telemetry::CacheReadings;

/// The bytes that the engine holds for the segment that refers to an entry: the segment, a node of the coverage's tree, and a
/// slot in its count of uses. Measured with 24,000 segments of one row each. They count so that the results of many tiny
/// requests are evicted like everything else.
const SEGMENT: u64 = 600;

/// The part of the cache that indexes and their columns may take, as a divisor. The indexes of rows with bytes need a tenth.
const INDEX_SHARE: u64 = 4;

/// How much more than necessary is dropped of indexes at once, as a divisor of their share, because dropping takes a pass over
/// everything that is known.
const INDEX_SLACK: u64 = 8;

/// The part of the cache that a single entry may take, as a divisor. Larger entries are served and not stored: an entry as large
/// as the cache would evict everything else, and be evicted by the next one.
const LARGEST_SHARE: u64 = 4;

/// The most bytes that may wait to be deflated: as many as arrive at once from a few dozen requests in flight. If more wait,
/// rows are deflated before more are accepted.
const MOST_FRESH: u64 = 16 << 20;

/// The same bound as a part of the cache, as a divisor, for small caches.
const FRESH_SHARE: u64 = 4;

/// Entries in memory, some of which are dropped when there is no more room.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<SharedEntries>,
    deflater: Deflater,
    largest: u64,
    refusals: AtomicU64,
}

impl MemoryStore {
    /// Creates a store that holds at most this many bytes, bookkeeping included.
    pub fn new(capacity: u64) -> Self {
        let shared = Arc::new(SharedEntries {
            held: Mutex::default(),
            derived: Arc::default(),
            indexes: Arc::default(),
            capacity,
            started: Instant::now(),
            evictions: AtomicU64::new(0),
        });
        shared.make_room();
        let deflater = Deflater::start(Arc::clone(&shared));
        Self { shared, deflater, largest: capacity / LARGEST_SHARE, refusals: AtomicU64::new(0) }
    }

    /// The current state, for metrics.
    pub fn readings(&self) -> CacheReadings {
        let derived = self.shared.derived.stats();
        let held = self.shared.lock();
        CacheReadings {
            capacity: self.shared.capacity,
            bytes: held.bytes() + derived.kept + self.shared.indexes.load(Relaxed),
            indexes: self.shared.indexes.load(Relaxed),
            plain: derived.kept,
            fresh: derived.fresh,
            entries: held.len() as u64,
            evictions: self.shared.evictions.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.shared.lock().get(key, self.shared.now())
    }

    fn put(&self, key: EntryKey, holder: CallerId, entry: Arc<Entry>) {
        entry.live_within(&self.shared.derived);
        self.count_index(entry.index());
        if weight(&entry) > self.largest {
            self.refusals.fetch_add(1, Relaxed);
            return;
        }
        if self.shared.derived.stats().fresh > MOST_FRESH.min(self.shared.capacity / FRESH_SHARE) {
            // A failure leaves the rows as they are.
            let _ = entry.deflated();
        }
        let (weight, now) = (weight(&entry), self.shared.now());
        self.shared.lock().add(key, holder, Arc::clone(&entry), weight, now);
        self.shared.make_room();
        if entry.deflated_already().is_none() && self.shared.lock().has(&key) {
            self.deflater.take(key, &entry);
        }
    }

    fn count_index(&self, index: &EntryIndex) {
        index.count_in(&self.shared.indexes, SEGMENT);
    }

    fn index_surplus(&self) -> u64 {
        self.shared.make_room();
        let (indexes, most) = (self.shared.indexes.load(Relaxed), self.shared.capacity / INDEX_SHARE);
        if indexes > most { indexes - most + most / INDEX_SLACK } else { 0 }
    }

    fn remove(&self, key: &EntryKey) {
        let removed = self.shared.lock().remove(key);
        drop(removed);
        self.shared.make_room();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::shared::BOOKKEEPING;
    use super::*;
    use crate::deflate::Separator;
    use crate::domain::{CredentialId, Digest, FilterFacts, NewRow, Row, Timestamp};

    const HOLDER: CallerId = CallerId::Key(CredentialId::new([1; 16]));

    /// A deflated entry of one row that can't be deflated to less than this many bytes.
    fn entry(bytes: usize) -> Arc<Entry> {
        let entry = fresh_entry(bytes);
        entry.deflated().unwrap();
        entry
    }

    /// The same entry before it is deflated.
    fn fresh_entry(bytes: usize) -> Arc<Entry> {
        let at = Timestamp::from_micros(0);
        let row = Row {
            id: "id".into(),
            created_at: Some(at),
            updated_at: None,
            facts: FilterFacts::default(),
            status: None,
            bytes: noise(bytes),
        };
        let digest = Digest::default();
        Arc::new(Entry::new(&[NewRow { row, created_at: at, read_at: at, is_doubted: false, digest }]))
    }

    /// Incompressible bytes (xorshift).
    fn noise(length: usize) -> Bytes {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Rows with line breaks are stored differently.
            (state >> 32) as u8 | 0x80
        };
        (0..length).map(|_| next()).collect()
    }

    const fn key(number: u128) -> EntryKey {
        EntryKey { scope: [0; 16], number }
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let store = MemoryStore::new(1 << 20);
        for number in 0..500 {
            store.put(key(number), HOLDER, entry(10_000));
            assert!(store.readings().bytes <= 1 << 20);
        }
        let stats = store.readings();
        assert_eq!(stats.evictions + stats.entries, 500);
        assert!(stats.entries > 80, "{stats:?}");
    }

    #[test]
    fn weighs_more_than_the_rows_alone() {
        let store = MemoryStore::new(1 << 20);
        store.put(key(1), HOLDER, entry(1_000));
        assert!(store.readings().bytes > 1_000 + BOOKKEEPING + SEGMENT);
    }

    #[test]
    fn does_not_keep_an_entry_that_would_evict_the_others() {
        let store = MemoryStore::new(1 << 20);
        store.put(key(1), HOLDER, entry(1_000));
        store.put(key(2), HOLDER, entry(300_000));
        assert!(store.get(&key(1)).is_some() && store.get(&key(2)).is_none());
        assert_eq!(store.readings().refusals, 1);
    }

    #[test]
    fn forgets_removed_entries() {
        let store = MemoryStore::new(1 << 20);
        store.put(key(1), HOLDER, entry(1_000));
        store.remove(&key(1));
        assert!(store.get(&key(1)).is_none());
        assert_eq!((store.readings().bytes, store.readings().evictions), (0, 0));
    }

    #[test]
    fn plain_forms_use_the_room_that_entries_leave() {
        let store = MemoryStore::new(1 << 20);
        let first = entry(100_000);
        store.put(key(1), HOLDER, Arc::clone(&first));
        let alone = store.readings();
        first.plain(Separator::Comma).unwrap();
        let stats = store.readings();
        assert!(
            stats.plain >= 100_000 && stats.bytes == alone.bytes - alone.plain + stats.plain,
            "{stats:?}"
        );
        (2..40).for_each(|number| {
            store.put(key(number), HOLDER, entry(100_000));
            assert!(store.readings().bytes <= 1 << 20);
        });
        let stats = store.readings();
        assert!(stats.plain <= (1 << 20) - 7 * 100_000, "{stats:?}");
        assert!(stats.entries >= 7, "{stats:?}");
    }

    #[test]
    fn new_entries_are_weighed_again_once_deflated() {
        let store = MemoryStore::new(1 << 20);
        let entry = fresh_entry(90_000);
        store.put(key(1), HOLDER, Arc::clone(&entry));
        entry.deflated().unwrap();
        store.shared.reweigh(&key(1));
        let stats = store.readings();
        assert!(stats.bytes - stats.plain > 80_000 && stats.fresh == 0, "{stats:?}");
        store.remove(&key(1));
        store.shared.reweigh(&key(1));
        assert!(store.get(&key(1)).is_none(), "weighing again does not restore a dropped entry");
    }
}
