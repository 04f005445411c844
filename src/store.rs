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

/// What an entry is kept under. Never used again for another entry, so that nothing late can land in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// A digest of credential, agent and filters.
    pub scope: [u8; 16],
    /// Which of the scope's entries.
    pub number: u64,
}
