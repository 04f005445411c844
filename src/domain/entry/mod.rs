//! Entries: the rows of one segment as the cache keeps them, and the slices of them that responses use.

mod column;
mod counted_memory;
mod derived_budget;
mod extract;
mod forms;
mod held_columns;
mod held_forms;
mod holders;
mod index;
mod index_columns;
mod kept_form;
mod new_row;
mod rows;
mod slice;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use self::forms::{Forms, byte_range};
use self::holders::Holders;
use super::Row;
use crate::deflate::{Deflated, Effort, Separator};

pub use column::{ColumnId, NumberCell, NumberColumn, ValueColumn, WordColumn};
pub use derived_budget::{DerivedBudget, DerivedStats};
pub use extract::LineBreaks;
pub use held_forms::Runs;
pub use index::{EntryIndex, IndexRow};
pub use new_row::{Digest, NewRow, RowChange};
pub use rows::{EntryRow, EntryRows};
pub use slice::EntrySlice;

/// The rows of one segment, newest first, as the cache keeps them. The content never changes, but the form in which the bytes
/// are held does, see [`Forms`].
///
/// # Invariants
/// Rows are in descending order of `created_at`, those of one instant in ascending order of `id`, then those without a
/// date of their own as upstream listed them, and no `id` comes twice.
#[derive(Debug)]
pub struct Entry {
    /// Shared with everything that is derived from the rows.
    index: Arc<EntryIndex>,
    /// Where each row's bytes end; the line feed follows. Empty if the bytes are gone.
    ends: Box<[usize]>,
    has_line_breaks: bool,
    forms: Forms,
    /// The columns of an entry without bytes, which keeps them even if its index drops them.
    columns: Box<[(ColumnId, Arc<ValueColumn>)]>,
    holders: Holders,
}

impl Entry {
    /// The bytes in memory that an entry takes without its rows.
    const SIZE: usize = size_of::<Self>() + Forms::SHARED;

    /// Creates an entry. The rows must be sorted and have no duplicates, as the invariants require.
    pub fn new(new: &[NewRow]) -> Self {
        let mut bytes = Vec::with_capacity(new.iter().map(|n| n.row.bytes.len() + 1).sum());
        let mut has_line_breaks = false;
        let mut ends = Vec::with_capacity(new.len());
        for n in new {
            has_line_breaks |= breaks_lines(&n.row.bytes);
            bytes.extend_from_slice(&n.row.bytes);
            ends.push(bytes.len());
            bytes.push(b'\n');
        }
        let (ends, forms) = (ends.into(), Forms::of(bytes.into()));
        let index = Arc::new(EntryIndex::new(new));
        Self { index, ends, has_line_breaks, forms, columns: Box::default(), holders: Holders::default() }
    }

    /// An entry of rows that were deflated earlier, here or in another process; `None` if they are not the rows of the index.
    ///
    /// Compares lengths, and does not inflate the bytes.
    pub fn from_parts(index: Arc<EntryIndex>, deflated: Deflated, has_line_breaks: bool) -> Option<Self> {
        let mut next = 0;
        let ends: Box<[usize]> = index
            .rows()
            .iter()
            .map(|row| {
                let end = next + row.byte_len();
                next = end + 1;
                end
            })
            .collect();
        let is_sendable_if_on_lines = has_line_breaks || deflated.is_sendable();
        let is_same = deflated.len() == next && is_sendable_if_on_lines;
        let forms = Forms::of_deflated(deflated);
        let (columns, holders) = (Box::default(), Holders::default());
        is_same.then(|| Self { index, ends, has_line_breaks, forms, columns, holders })
    }

    /// An entry of rows whose bytes are gone. It has only their facts; asking for a form is an error.
    pub fn without_bytes(index: &Arc<EntryIndex>) -> Self {
        Self::bare(index, Box::default())
    }

    /// An entry of rows whose bytes are gone, with these columns; `None` if the index does not have all of them.
    pub fn of_columns(index: &Arc<EntryIndex>, ids: &[ColumnId]) -> Option<Self> {
        let columns = index.columns(ids)?;
        Some(Self::bare(index, ids.iter().copied().zip(columns).collect()))
    }

    fn bare(index: &Arc<EntryIndex>, columns: Box<[(ColumnId, Arc<ValueColumn>)]>) -> Self {
        Self {
            index: Arc::clone(index),
            ends: Box::default(),
            has_line_breaks: false,
            forms: Forms::none(),
            columns,
            holders: Holders::default(),
        }
    }

    /// Whether the bytes are in memory.
    pub fn has_bytes(&self) -> bool {
        self.ends.len() == self.index.len()
    }

    /// The facts about the rows, without their bytes.
    pub const fn index(&self) -> &Arc<EntryIndex> {
        &self.index
    }

    /// These columns of the rows, in this order, if all of them are held.
    pub fn columns(&self, ids: &[ColumnId]) -> Option<Vec<Arc<ValueColumn>>> {
        let own =
            |id: &ColumnId| self.columns.iter().find(|(own, _)| own == id).map(|(_, own)| Arc::clone(own));
        ids.iter().map(own).collect::<Option<_>>().or_else(|| self.index.columns(ids))
    }

    /// The facts about every row, newest first.
    pub fn rows(&self) -> EntryRows<'_> {
        self.index.rows()
    }

    /// The number of bytes that the rows take, including one separator after each.
    pub fn byte_len(&self) -> usize {
        self.ends.last().map_or_else(|| self.index.byte_len(), |end| end + 1)
    }

    /// Whether any row has line breaks between its tokens, so that its bytes are more than one line.
    pub const fn has_line_breaks(&self) -> bool {
        self.has_line_breaks
    }

    /// Whether any row has no readable date.
    pub fn has_undated(&self) -> bool {
        self.index.has_undated()
    }

    /// The sum of all rows' digests.
    pub fn digest(&self) -> Digest {
        self.index.digest()
    }

    /// The position of some rows' bytes among all bytes, including the separator after each row.
    pub fn byte_range(&self, rows: Range<usize>) -> Range<usize> {
        if self.has_bytes() {
            return byte_range(&self.ends, rows);
        }
        let start = |row: usize| self.rows().iter().take(row).map(|row| row.byte_len() + 1).sum();
        start(rows.start)..start(rows.end)
    }

    /// Returns every row followed by a separator. Inflates the rows if necessary, and keeps the result if there is room.
    ///
    /// # Errors
    /// Only if memory is damaged.
    pub fn plain(&self, separator: Separator) -> io::Result<Bytes> {
        self.forms.plain(&self.ends, separator)
    }

    /// Whether [`plain`](Self::plain) has nothing to do.
    pub fn has_plain(&self, separator: Separator) -> bool {
        self.forms.has_plain(separator)
    }

    /// The deflated rows; the first caller deflates them.
    ///
    /// # Errors
    /// None in practice: the encoder writes into memory.
    pub fn deflated(&self) -> io::Result<Arc<Deflated>> {
        self.forms.deflated(&self.ends, Effort::Arrival)
    }

    /// The deflated rows, if they are deflated already.
    pub fn deflated_already(&self) -> Option<Arc<Deflated>> {
        self.forms.deflated_already()
    }

    /// The deflated rows with this separator after each, ready for a gzip member. With commas they are a copy, which is kept
    /// while nothing else needs the room.
    pub fn blocks(&self, deflated: &Deflated, separator: Separator) -> Bytes {
        self.forms.blocks(deflated, separator)
    }

    /// Some rows, deflated separately from the others. The result is kept if there is room.
    ///
    /// # Errors
    /// As [`plain`](Self::plain).
    pub fn piece(&self, runs: &Runs) -> io::Result<Arc<Deflated>> {
        self.forms.piece(&self.ends, runs)
    }

    /// Whether [`piece`](Self::piece) has nothing to do.
    pub fn has_piece(&self, runs: &Runs) -> bool {
        self.forms.has_piece(runs)
    }

    /// Deflates the rows with more effort, unless that was done before.
    ///
    /// # Errors
    /// As [`deflated`](Self::deflated), and only if memory is damaged.
    pub fn squeeze(&self) -> io::Result<()> {
        self.forms.deflated(&self.ends, Effort::Idle).map(|_| ())
    }

    /// From now on, keeps derived forms only while this budget has room for them.
    pub fn live_within(&self, derived_budget: &Arc<DerivedBudget>) {
        self.forms.live_within(derived_budget);
    }

    /// Some rows as they arrived, for a new entry together with others.
    ///
    /// # Errors
    /// As [`plain`](Self::plain).
    pub fn take_rows(&self, rows: Range<usize>) -> io::Result<Vec<NewRow>> {
        let lines = self.forms.lines()?;
        let take = |position: usize| {
            let known = self.rows().at(position);
            let row = Row {
                id: known.id(),
                created_at: known.is_dated.then_some(known.created_at),
                updated_at: Some(known.changed_at),
                status: known.status.cloned(),
                facts: known.owned_facts(),
                bytes: lines.slice(self.byte_range(position..position).start..self.ends[position]),
            };
            NewRow {
                row,
                created_at: known.created_at,
                read_at: known.read_at,
                is_doubted: known.is_doubted,
                digest: known.digest,
            }
        };
        Ok(rows.map(take).collect())
    }

    /// Counts a response that holds the entry until it [releases](Self::release) it. The entry's bytes count once in `total`.
    /// Returns those bytes: the memory that stays occupied even if the cache drops the entry.
    pub fn hold(&self, total: &Arc<AtomicU64>) -> u64 {
        self.holders.add(total, || self.occupied() as u64)
    }

    /// Ends one [`hold`](Self::hold).
    pub fn release(&self) {
        self.holders.remove();
    }

    /// The bytes in memory that the entry needs as long as it is kept: everything except its index, which may be kept longer,
    /// and derived forms, which can be dropped. Estimated for rows that are not deflated yet.
    pub fn weight(&self) -> usize {
        Self::SIZE + self.forms.weight(self.byte_len()) + size_of_val(&*self.ends)
    }

    /// The bytes in memory that it holds now, including plain rows while they are not deflated.
    fn occupied(&self) -> usize {
        let plain = if self.has_bytes() { self.byte_len() } else { 0 };
        let bytes = self.deflated_already().map_or(plain, |deflated| deflated.weight());
        Self::SIZE + bytes + size_of_val(&*self.ends) + self.index.weight()
    }
}

/// Whether bytes have a line break. Has no early exit, so that the compiler can check many bytes at a time.
fn breaks_lines(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |any, &byte| any | (byte == b'\n') | (byte == b'\r'))
}

#[cfg(test)]
mod tests;
