use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use super::segment::Contents;
use crate::domain::{Entry, EntryIndex, NewRow, Span, Timestamp};
use crate::store::{EntryKey, ScopeKey};

/// The effects of a change of a coverage on others: the store adds and drops entries, and the tier later
/// writes the spans again. The coverage calls neither; the scope applies the change.
///
/// It holds the bytes of new entries, to which segments refer weakly, until then.
#[derive(Debug, Default)]
pub(in crate::engine) struct CoverageChange {
    /// Entries that were made, oldest first. Segments may have moved on from some of them to later ones.
    pub(in crate::engine) made: Vec<MadeEntry>,
    /// Entries that no segment referred to any more at some point.
    pub(in crate::engine) unused: Vec<EntryKey>,
    /// Spans whose rows changed, and the time up to which earlier reads of them are outdated.
    pub(in crate::engine) replaced: Vec<(Span, Timestamp)>,
}

/// An entry that a change made.
#[derive(Debug)]
pub(in crate::engine) struct MadeEntry {
    pub(in crate::engine) key: EntryKey,
    pub(in crate::engine) index: Arc<EntryIndex>,
    /// Its bytes; `None` if they are gone.
    pub(in crate::engine) entry: Option<Arc<Entry>>,
    /// The earlier indexes of its rows, which may have columns.
    pub(in crate::engine) before: Vec<Arc<EntryIndex>>,
}

impl CoverageChange {
    /// Adds an entry that exists already.
    pub(in crate::engine) fn add(&mut self, key: EntryKey, entry: &Arc<Entry>, before: Vec<Arc<EntryIndex>>) {
        let (index, entry) = (Arc::clone(entry.index()), Some(Arc::clone(entry)));
        self.made.push(MadeEntry { key, index, entry, before });
    }

    /// Makes an entry of rows that were in these indexes before.
    pub(in crate::engine) fn make(
        &mut self,
        scope: ScopeKey,
        rows: &[NewRow],
        before: Vec<Arc<EntryIndex>>,
    ) -> Contents {
        let (key, entry) = (new_key(scope), Arc::new(Entry::new(rows)));
        self.add(key, &entry, before);
        Contents::of(key, &entry, 0..rows.len())
    }

    /// Makes an entry of an index whose rows have no bytes, in the place of another.
    pub(in crate::engine) fn make_bare(
        &mut self,
        scope: ScopeKey,
        index: EntryIndex,
        before: Arc<EntryIndex>,
    ) -> Contents {
        let (key, index) = (new_key(scope), Arc::new(index));
        self.made.push(MadeEntry { key, index: Arc::clone(&index), entry: None, before: vec![before] });
        Contents::without_bytes(key, index)
    }
}

/// A key that no entry has had, in any process.
pub(super) fn new_key(scope: ScopeKey) -> EntryKey {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    EntryKey { scope, number: u128::from(*PROCESS) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) }
}
