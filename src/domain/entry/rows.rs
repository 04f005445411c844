use std::ops::Range;

use super::index::{EntryIndex, IndexRow, PackedRow};
use super::new_row::{Digest, RowChange};
use crate::domain::{FilterFacts, RowId, StatedFacts, Status, Timestamp};

/// The facts about one row in an entry, apart from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct EntryRow<'e> {
    /// When upstream created the row. For a row without a readable date, the instant of the row before it on its page.
    pub created_at: Timestamp,
    /// Whether `created_at` is upstream's own value.
    pub is_dated: bool,
    /// The latest change that upstream reports: `updated_at`, or `created_at` if there is none.
    pub changed_at: Timestamp,
    /// The status of the call.
    pub status: Option<&'e Status>,
    /// When the request that returned the row was sent upstream, by the gateway's clock.
    pub read_at: Timestamp,
    /// Whether upstream has shown since then that the row changed, but not how.
    pub is_doubted: bool,
    /// A digest of the bytes, the same on every replica.
    pub digest: Digest,
    index: &'e EntryIndex,
    packed: &'e PackedRow,
}

impl<'e> EntryRow<'e> {
    fn of(index: &'e EntryIndex, packed: &'e PackedRow) -> Self {
        Self {
            created_at: packed.created_at,
            is_dated: packed.is_dated(),
            changed_at: packed.changed_at,
            status: index.status_of(packed),
            read_at: packed.read_at,
            is_doubted: packed.is_doubted(),
            digest: packed.digest(),
            index,
            packed,
        }
    }

    /// Upstream's identifier.
    pub fn id(&self) -> RowId {
        self.index.id_of(self.packed)
    }

    /// The length of the bytes.
    pub const fn byte_len(&self) -> usize {
        self.packed.length as usize
    }

    /// What decides whether the row passes filters.
    pub fn facts(&self) -> StatedFacts<'e> {
        StatedFacts {
            status: self.status,
            call_type: self.index.call_type_of(self.packed),
            provider: self.index.provider_of(self.packed),
            batch_id: self.index.batch_of(self.packed, |batch| &**batch),
            answered_by_voice_mail: self.packed.answered_by_voice_mail(),
        }
    }

    /// The row, for another index.
    pub fn to_index_row(self) -> IndexRow {
        IndexRow {
            id: self.id(),
            created_at: self.created_at,
            is_dated: self.is_dated,
            changed_at: self.changed_at,
            read_at: self.read_at,
            is_doubted: self.is_doubted,
            status: self.status.cloned(),
            facts: self.owned_facts(),
            digest: self.digest,
            length: self.packed.length,
        }
    }

    /// The facts that filters test, independent of the entry.
    pub(super) fn owned_facts(&self) -> FilterFacts {
        self.index.facts_of(self.packed)
    }
}

/// Some neighboring rows of an entry, newest first.
#[derive(Clone, Copy, Debug)]
pub struct EntryRows<'e> {
    index: &'e EntryIndex,
    packed: &'e [PackedRow],
}

impl<'e> EntryRows<'e> {
    pub(super) fn of(index: &'e EntryIndex) -> Self {
        Self { index, packed: index.packed() }
    }

    /// Some of these rows, by their positions.
    #[must_use]
    pub fn slice(self, positions: Range<usize>) -> Self {
        Self { index: self.index, packed: &self.packed[positions] }
    }

    /// The number of rows.
    pub const fn len(self) -> usize {
        self.packed.len()
    }

    /// Whether there are no rows.
    pub const fn is_empty(self) -> bool {
        self.packed.is_empty()
    }

    /// The row at a position; `None` if there are fewer rows.
    pub fn get(self, position: usize) -> Option<EntryRow<'e>> {
        self.packed.get(position).map(|packed| EntryRow::of(self.index, packed))
    }

    /// The row at a position, which must exist.
    pub fn at(self, position: usize) -> EntryRow<'e> {
        EntryRow::of(self.index, &self.packed[position])
    }

    /// Every row.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = EntryRow<'e>> + ExactSizeIterator + Clone {
        let index = self.index;
        self.packed.iter().map(move |packed| EntryRow::of(index, packed))
    }

    /// The number of rows before the first one created at this instant or earlier.
    pub fn newer_than(self, instant: Timestamp) -> usize {
        self.packed.partition_point(|row| row.created_at > instant)
    }

    /// The number of rows before the first one created earlier than this instant.
    pub fn not_older_than(self, instant: Timestamp) -> usize {
        self.packed.partition_point(|row| row.created_at >= instant)
    }
}

impl EntryIndex {
    /// The facts about every row, newest first.
    pub fn rows(&self) -> EntryRows<'_> {
        EntryRows::of(self)
    }

    /// An index of some of the rows, each unchanged or changed.
    pub fn changed<'n>(
        &self,
        among: Range<usize>,
        mut change: impl FnMut(&EntryRow<'_>) -> RowChange<'n>,
    ) -> Self {
        Self::of(self.rows().slice(among).iter().map(|row| {
            let known = row.to_index_row();
            match change(&row) {
                RowChange::None => known,
                RowChange::Doubted => IndexRow { is_doubted: true, ..known },
                // Keeps its place in the order, because a row without a date would get another place from another page.
                RowChange::Row(new) => IndexRow { created_at: known.created_at, ..IndexRow::of(new) },
            }
        }))
    }
}
