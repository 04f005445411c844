//! The columns of an index: the values of its rows that totals need, which outlive the bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::column::{ColumnId, ValueColumn};
use super::counted_memory::CountedMemory;
use super::held_columns::{HeldColumn, NamedColumns};
use super::index::EntryIndex;
use super::new_row::Digest;

/// The most columns of an index, as many as a few dashboards request. The least recently used ones are dropped.
const MOST_COLUMNS: usize = 32;

/// The most bytes per row that a column may take, in addition to [`ANY_COLUMN`]: more than an id or a phone number. A column of
/// longer values would be as large as the row bytes that it outlives.
const MOST_PER_ROW: usize = 128;

/// The bytes that a column may take regardless of its rows.
const ANY_COLUMN: usize = 512;

impl EntryIndex {
    /// Whether all of these columns are held.
    pub fn has_columns(&self, ids: &[ColumnId]) -> bool {
        let held = self.columns.lock();
        ids.iter().all(|id| held.iter().any(|held| held.id == *id))
    }

    /// These columns, in this order, if all of them are held.
    pub fn columns(&self, ids: &[ColumnId]) -> Option<Vec<Arc<ValueColumn>>> {
        let mut held = self.columns.lock();
        let take = |id: &ColumnId| {
            let at = held.iter().position(|held| held.id == *id)?;
            held[at..].rotate_left(1);
            held.last().map(|held| Arc::clone(&held.column))
        };
        ids.iter().map(take).collect()
    }

    /// Holds a column of all rows, unless it is large. It counts where the index does, until it is dropped.
    pub fn keep_column(&self, id: ColumnId, column: Arc<ValueColumn>) {
        debug_assert_eq!(column.len(), self.len());
        if column.weight() > ANY_COLUMN + MOST_PER_ROW * self.len() {
            return;
        }
        let bytes = size_of::<HeldColumn>() + column.weight();
        let counted = self.count_more(bytes as u64);
        let mut held = self.columns.lock();
        held.retain(|held| held.id != id);
        if held.len() == MOST_COLUMNS {
            held.remove(0);
        }
        held.push(HeldColumn { id, column, bytes, counted });
    }

    /// The bytes that its columns take.
    pub fn column_bytes(&self) -> u64 {
        self.columns.lock().iter().map(|held| held.bytes as u64).sum()
    }

    /// Drops its columns. They are made again when the rows' bytes are read.
    pub fn drop_columns(&self) {
        let dropped = std::mem::take(&mut *self.columns.lock());
        drop(dropped);
    }

    /// Copies the columns of indexes that have the same rows, so that rows that are read again, cut or joined keep theirs. A
    /// value depends only on a row's bytes, which the digest identifies. A column that lacks one of the rows is not copied.
    pub fn inherit_columns<'i>(&self, from: impl IntoIterator<Item = &'i Self>) {
        let sources = from.into_iter().map(|index| (index, index.columns.all()));
        let sources: Vec<_> = sources.filter(|(_, columns)| !columns.is_empty()).collect();
        let mut places: HashMap<Digest, Vec<(&NamedColumns, usize)>> = HashMap::new();
        for (index, columns) in &sources {
            for (position, row) in index.packed().iter().enumerate() {
                places.entry(row.digest()).or_default().push((columns, position));
            }
        }
        let mut ids: Vec<ColumnId> = Vec::new();
        for (id, _) in sources.iter().flat_map(|(_, columns)| columns) {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        for id in ids {
            let of = |columns: &'_ NamedColumns| columns.iter().position(|(other, _)| *other == id);
            let rows = self.packed().iter().map(|row| {
                places
                    .get(&row.digest())?
                    .iter()
                    .find_map(|&(columns, position)| of(columns).map(|at| (&*columns[at].1, position)))
            });
            let rows: Option<Vec<_>> = rows.collect();
            if let Some(column) = rows.and_then(|rows| ValueColumn::gather(&rows)) {
                self.keep_column(id, Arc::new(column));
            }
        }
    }

    /// Counts more bytes where the index counts.
    fn count_more(&self, bytes: u64) -> Option<CountedMemory> {
        self.counted_in().map(|total| CountedMemory::new(bytes, total))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::column::NumberCell;
    use super::super::tests::index;
    use super::*;

    const fn id(number: u8) -> ColumnId {
        ColumnId::new([number; 16])
    }

    fn numbers(rows: impl IntoIterator<Item = i128>) -> Arc<ValueColumn> {
        let cells: Vec<_> = rows.into_iter().map(NumberCell::Number).collect();
        Arc::new(ValueColumn::Numbers(cells.into()))
    }

    #[test]
    fn columns_count_with_their_index_until_they_are_dropped() {
        let total = Arc::new(AtomicU64::new(0));
        let index = index(0..50);
        index.count_in(&total, 0);
        let alone = total.load(Relaxed);
        index.keep_column(id(1), numbers(0..50));
        let per_row = (total.load(Relaxed) - alone) as f64 / 50.0;
        assert!((9.0..13.0).contains(&per_row), "{per_row} bytes a row, as documented");
        assert_eq!(index.column_bytes(), total.load(Relaxed) - alone);
        index.keep_column(id(1), numbers(0..50));
        assert_eq!(index.column_bytes(), total.load(Relaxed) - alone, "one column is kept for each id");
        assert!(index.has_columns(&[id(1)]) && !index.has_columns(&[id(1), id(2)]));
        assert!(index.columns(&[id(1), id(2)]).is_none());
        index.drop_columns();
        assert_eq!((index.column_bytes(), total.load(Relaxed)), (0, alone));
        index.keep_column(id(1), numbers(0..50));
        drop(index);
        assert_eq!(total.load(Relaxed), 0);
    }

    #[test]
    fn an_index_keeps_the_last_used_few_columns() {
        let index = index(0..2);
        (0..MOST_COLUMNS as u8).for_each(|number| index.keep_column(id(number), numbers(0..2)));
        assert!(index.columns(&[id(0), id(1)]).is_some());
        index.keep_column(id(100), numbers(0..2));
        assert!(index.has_columns(&[id(0), id(1), id(100)]) && !index.has_columns(&[id(2)]));
    }

    #[test]
    fn a_column_of_long_texts_is_not_kept() {
        let index = index(0..50);
        let words = |length: usize| (0..50).map(|row| format!("{row:length$}")).collect();
        index.keep_column(id(1), Arc::new(ValueColumn::Words(words(40))));
        index.keep_column(id(2), Arc::new(ValueColumn::Words(words(200))));
        assert!(index.has_columns(&[id(1)]) && !index.has_columns(&[id(2)]));
    }

    #[test]
    fn reread_rows_keep_their_columns_and_new_rows_have_none() {
        let (older, newer) = (index(10..20), index(0..10));
        older.keep_column(id(1), numbers(10..20));
        newer.keep_column(id(1), numbers(0..10));
        newer.keep_column(id(2), numbers(0..10));
        let across = index(5..15);
        across.inherit_columns([&newer, &older]);
        assert_eq!(*across.columns(&[id(1)]).unwrap()[0], *numbers(5..15));
        assert!(!across.has_columns(&[id(2)]));
        let within = index(2..4);
        within.inherit_columns([&newer]);
        assert_eq!(within.columns(&[id(2), id(1)]).unwrap(), [numbers(2..4), numbers(2..4)]);
        let beyond = index(15..25);
        beyond.inherit_columns([&newer, &older]);
        assert_eq!(beyond.column_bytes(), 0);
    }
}
