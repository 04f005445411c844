//! Where entries are kept: the seam between the engine, which knows what is where, and whoever holds the bytes.
//!
//! A store forgets whenever it likes; an entry that is gone is a gap in what is known, and is read again.

use std::sync::Arc;

use crate::domain::Entry;

/// Where entries are kept.
pub trait Store: Send + Sync + 'static {
    /// The entry, if it is still there.
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>>;

    /// Keeps an entry, for a while.
    fn put(&self, key: EntryKey, entry: Arc<Entry>);

    /// Forgets an entry.
    fn remove(&self, key: &EntryKey);
}

/// What identifies a scope: a digest of credential, agent and filters.
pub type ScopeKey = [u8; 16];

/// What an entry is kept under. Never used again for another entry, so that nothing late can land in its place.
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
    use crate::domain::Entry;

    /// Keeps everything, and forgets on demand.
    #[derive(Default)]
    pub(crate) struct MapStore(pub(crate) Mutex<HashMap<EntryKey, Arc<Entry>>>);

    impl Store for MapStore {
        fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn put(&self, key: EntryKey, entry: Arc<Entry>) {
            self.0.lock().unwrap().insert(key, entry);
        }

        fn remove(&self, key: &EntryKey) {
            self.0.lock().unwrap().remove(key);
        }
    }
}
