//! The trait between the engine, which knows which entries exist, and the store, which holds their bytes.
//!
//! A store may drop an entry at any time. The engine keeps the entry's index, which counts in the store's memory, and reads the
//! rows again when it needs their bytes.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{CallerId, Entry, EntryIndex};

/// Keeps entries.
pub trait Store: Send + Sync + 'static {
    /// Returns the entry if it is still kept.
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>>;

    /// Keeps an entry until its memory is needed. It counts for its holder; the holder of the most bytes loses entries first.
    fn put(&self, key: EntryKey, holder: CallerId, entry: Arc<Entry>);

    /// Drops an entry.
    fn remove(&self, key: &EntryKey);

    /// Counts an index and its columns for as long as anything holds it. [`put`](Self::put) does so for the entry's index.
    fn count_index(&self, index: &EntryIndex);

    /// Gives indexes and their columns the memory that they take now, and returns how many bytes of them the engine must drop:
    /// columns first, then indexes with the coverage that holds them.
    fn index_surplus(&self) -> u64;
}

/// After this long without a request, a holder's bytes count double when memory is needed; after twice as long, triple.
const PATIENCE: Duration = Duration::from_hours(1);

/// The weight of a holder's bytes, by how long it has made no request. The holder of the most weight loses entries first.
pub fn weighed(bytes: u64, idle: Duration) -> u128 {
    u128::from(bytes) * (PATIENCE.as_millis() + idle.as_millis())
}

/// The scope that entries belong to, and the caller that they count for.
#[derive(Clone, Copy, Debug)]
pub struct EntryOwner {
    /// The scope.
    pub scope: ScopeKey,
    /// The caller that the scope was made for.
    pub holder: CallerId,
}

/// Identifies a scope: a digest of credential, agent and filters.
pub type ScopeKey = [u8; 16];

/// The key of an entry. No other entry ever has the same key, so a late write can't replace an entry with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// The scope that it belongs to.
    pub scope: ScopeKey,
    /// Its number. No two entries of a scope have the same, even if different processes made them.
    pub number: u128,
}

/// A store for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::{EntryKey, Store};
    use crate::domain::{CallerId, Entry, EntryIndex};

    /// Keeps everything until it is removed.
    #[derive(Default)]
    pub(crate) struct MapStore(pub(crate) Mutex<HashMap<EntryKey, Arc<Entry>>>);

    impl Store for MapStore {
        fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn put(&self, key: EntryKey, _: CallerId, entry: Arc<Entry>) {
            self.0.lock().unwrap().insert(key, entry);
        }

        fn remove(&self, key: &EntryKey) {
            self.0.lock().unwrap().remove(key);
        }

        fn count_index(&self, _: &EntryIndex) {}

        fn index_surplus(&self) -> u64 {
            0
        }
    }
}
