//! The trait between the engine, which knows which entries exist, and the store, which holds their bytes.
//!
//! A store may drop an entry at any time. What is known of its rows stays with the engine, and counts in the store's room;
//! the rows are read again when their bytes are needed.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{CallerId, Entry, EntryIndex};

/// Keeps entries.
pub trait Store: Send + Sync + 'static {
    /// Returns the entry if it is still kept.
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>>;

    /// Keeps an entry until room is needed. It counts as its holder's; the holder of most gives first.
    fn put(&self, key: EntryKey, holder: CallerId, entry: Arc<Entry>);

    /// Drops an entry.
    fn remove(&self, key: &EntryKey);

    /// Counts an index for as long as anything holds it, and its columns. [`put`](Self::put) counts that of its entry.
    fn count_index(&self, index: &EntryIndex);

    /// Gives indexes the room that they take now, with their columns, and says how many bytes of them the engine has to
    /// drop: columns first, then indexes with the coverage that holds them.
    fn index_surplus(&self) -> u64;
}

/// After this long without a request, what somebody holds counts twice when room is needed, after twice that three times.
const PATIENCE: Duration = Duration::from_hours(1);

/// How much so many bytes count that were not requested for a while: the holder of most gives first.
pub fn weighed(bytes: u64, idle: Duration) -> u128 {
    u128::from(bytes) * (PATIENCE.as_millis() + idle.as_millis())
}

/// Which scope entries belong to, and the caller that they count for.
#[derive(Clone, Copy, Debug)]
pub struct EntryOwner {
    /// The scope.
    pub scope: ScopeKey,
    /// The caller that the scope was made for.
    pub holder: CallerId,
}

/// What identifies a scope: a digest of credential, agent and filters.
pub type ScopeKey = [u8; 16];

/// The key of an entry. A key is never reused for another entry, so that a late write can't replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// Whose it is.
    pub scope: ScopeKey,
    /// Which of the scope's entries. No two entries have the same, whatever process made them.
    pub number: u128,
}

/// A store for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::{EntryKey, Store};
    use crate::domain::{CallerId, Entry, EntryIndex};

    /// Keeps everything, and forgets on demand.
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
