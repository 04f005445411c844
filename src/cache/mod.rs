//! A store in memory that holds a bounded number of bytes.
//!
//! # Choices
//! - **LRU, not TinyLFU.** TinyLFU protects entries that are used often from those that are used once, so a hot cache
//!   keeps refusing the entries of a new walk: the first dashboard of the day would never be cached. LRU keeps what was
//!   read last. It is bad at a history larger than the cache that is read over and over, but that is slow either way, and
//!   [`LARGEST_SHARE`] bounds a single entry.
//! - **Entries come first.** They are held deflated. The room that they leave is used for other forms of their rows,
//!   mostly plain bytes, which are made on demand. They ask for room before they are kept, and give it up when entries
//!   need it.
//! - **Deflated in the background.** Rows are served as they arrived. A thread deflates them, and deflates them harder
//!   when it has nothing else to do. See [`deflater`].
//! - **No times to live.** The engine knows how long a row is fresh; here only bytes count.
//! - **Evictions are not reported.** An entry that is gone is a gap when it is looked up.

mod deflater;
mod entries;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use self::deflater::Deflater;
use self::entries::EntryCache;
use crate::domain::Entry;
use crate::store::{EntryKey, Store};

/// What moka and the allocator hold for an entry in addition to its own weight: the key, twice; the value's box and the
/// reference counts; a node in each of two queues; a slot of the hash table at its usual load. Counted from their types and
/// rounded up. It hardly matters for entries of hundreds of kilobytes, but without it a cache full of empty entries
/// would weigh nothing.
const BOOKKEEPING: u64 = 400;

/// What the engine holds for the segment that names an entry: itself, a node of the coverage's tree, and a slot in its
/// count of uses. Measured with 24,000 segments of one row each, and counted so that what many tiny questions leave behind is
/// evicted as everything else is.
const SEGMENT: u64 = 600;

/// The part of the cache that a single entry may take, as a divisor; larger entries are served and not kept. An entry as large
/// as the cache would evict everything else, and be evicted by the next.
const LARGEST_SHARE: u64 = 4;

/// How many bytes may wait to be deflated. Past it, rows are deflated before the next are taken: as much as comes at once
/// from a few dozen requests in flight, and little beside a cache worth having.
const MOST_FRESH: u64 = 16 << 20;

/// Entries in memory, the least recently used ones dropped when the bytes run out.
#[derive(Debug)]
pub struct MokaStore {
    cache: EntryCache,
    deflater: Deflater,
    largest: u64,
    evictions: Arc<AtomicU64>,
    refusals: AtomicU64,
}

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes held, bookkeeping and plain forms included.
    pub bytes: u64,
    /// How many of them hold rows a second time: plain, or as they are sent.
    pub plain: u64,
    /// Bytes of rows that are not deflated yet; not among those held, as they are on their way.
    pub fresh: u64,
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
        let cache = EntryCache { entries, derived: Arc::default(), capacity };
        cache.share_out();
        let deflater = Deflater::start(cache.clone());
        Self { cache, deflater, largest, evictions, refusals: AtomicU64::new(0) }
    }

    /// What it holds now.
    pub fn stats(&self) -> StoreStats {
        let derived = self.cache.derived.stats();
        StoreStats {
            bytes: self.cache.entries.weighted_size() + derived.kept,
            plain: derived.kept,
            fresh: derived.fresh,
            entries: self.cache.entries.entry_count(),
            evictions: self.evictions.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
        }
    }
}

/// The bytes that an entry costs the process.
fn weight(entry: &Entry) -> u64 {
    u64::try_from(entry.weight()).unwrap_or(u64::MAX).saturating_add(BOOKKEEPING + SEGMENT)
}

impl Store for MokaStore {
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.cache.entries.get(key)
    }

    fn put(&self, key: EntryKey, entry: Arc<Entry>) {
        entry.live_within(&self.cache.derived);
        if weight(&entry) > self.largest {
            self.refusals.fetch_add(1, Relaxed);
            return;
        }
        if self.cache.derived.stats().fresh > MOST_FRESH {
            // A failure leaves the rows as they are.
            let _ = entry.deflated();
        }
        self.cache.entries.insert(key, Arc::clone(&entry));
        self.cache.share_out();
        if entry.deflated_already().is_none() {
            self.deflater.take(key, &entry);
        }
    }

    fn remove(&self, key: &EntryKey) {
        // Not `invalidate`: it does not wait for a weighing under way, which would then put the entry back.
        let _ = self.cache.entries.entry(*key).and_compute_with(|_| Op::Remove);
        self.cache.share_out();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::deflate::Separator;
    use crate::domain::{Digest, NewRow, Row, Timestamp};

    /// An entry of one row that can't be deflated to less than that many bytes, and is deflated.
    fn entry(bytes: usize) -> Arc<Entry> {
        let at = Timestamp::from_micros(0);
        let row = Row {
            id: "id".into(),
            created_at: Some(at),
            updated_at: None,
            status: None,
            bytes: noise(bytes),
        };
        let entry =
            Arc::new(Entry::new(&[NewRow { row, created_at: at, read_at: at, digest: Digest::default() }]));
        entry.deflated().unwrap();
        entry
    }

    /// Bytes that look like nothing (xorshift).
    fn noise(length: usize) -> Bytes {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Line breaks would make another kind of row of it.
            (state >> 32) as u8 | 0x80
        };
        (0..length).map(|_| next()).collect()
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
        assert!(stats.entries > 80, "{stats:?}");
    }

    #[test]
    fn weighs_more_than_the_rows_alone() {
        let store = MokaStore::new(1 << 20);
        store.put(key(1), entry(1_000));
        assert!(store.stats().bytes > 1_000 + BOOKKEEPING + SEGMENT);
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

    #[test]
    fn plain_forms_have_what_entries_leave() {
        let store = MokaStore::new(1 << 20);
        let first = entry(100_000);
        store.put(key(1), Arc::clone(&first));
        let alone = store.stats();
        first.plain(Separator::Comma).unwrap();
        let stats = store.stats();
        assert!(
            stats.plain >= 100_000 && stats.bytes == alone.bytes - alone.plain + stats.plain,
            "{stats:?}"
        );
        (2..40).for_each(|number| {
            store.put(key(number), entry(100_000));
            assert!(store.stats().bytes <= 1 << 20);
        });
        let stats = store.stats();
        assert!(stats.plain <= (1 << 20) - 7 * 100_000, "{stats:?}");
        assert!(stats.entries >= 7, "{stats:?}");
    }

    #[test]
    fn what_arrives_is_weighed_as_it_is_once_it_is_deflated() {
        let store = MokaStore::new(1 << 20);
        let at = Timestamp::from_micros(0);
        let row = Row {
            id: "id".into(),
            created_at: Some(at),
            updated_at: None,
            status: None,
            bytes: noise(90_000),
        };
        let entry =
            Arc::new(Entry::new(&[NewRow { row, created_at: at, read_at: at, digest: Digest::default() }]));
        store.put(key(1), Arc::clone(&entry));
        entry.deflated().unwrap();
        store.cache.reweigh(key(1));
        let stats = store.stats();
        assert!(stats.bytes - stats.plain > 80_000 && stats.fresh == 0, "{stats:?}");
        store.remove(&key(1));
        store.cache.reweigh(key(1));
        assert!(store.get(&key(1)).is_none(), "a weighing must not bring back what is gone");
    }
}
