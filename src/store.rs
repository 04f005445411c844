//! The trait between the engine, which knows which entries exist, and the store, which holds their bytes.
//!
//! A store may drop an entry at any time. A dropped entry is a gap in the coverage and is read again.

use std::sync::Arc;

use crate::domain::{CallerId, Entry};

/// Keeps entries.
pub trait Store: Send + Sync + 'static {
    /// Returns the entry if it is still kept.
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>>;

    /// Keeps an entry until room is needed. It counts as its holder's; the holder of most gives first.
    fn put(&self, key: EntryKey, holder: CallerId, entry: Arc<Entry>);

    /// Drops an entry.
    fn remove(&self, key: &EntryKey);
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
    /// Which of the scope's entries.
    pub number: u64,
}

/// A store for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::{EntryKey, Store};
    use crate::domain::{CallerId, Entry};

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
    }
}
