use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Row, RowId, Status, Timestamp};

/// What the cache keeps of a segment: its rows, newest first, laid out for the wire. Never changes once made.
///
/// # Invariants
/// Rows are in descending order of `created_at`, those of one instant in ascending order of `id`, and no `id` comes
/// twice. `bytes` holds every row followed by one line feed, in the same order.
#[derive(Debug)]
pub struct Entry {
    rows: Box<[EntryRow]>,
    bytes: Bytes,
    has_line_breaks: bool,
}

/// What is known of one row in an entry, beside its bytes.
#[derive(Clone, Debug)]
pub struct EntryRow {
    /// Upstream's identifier.
    pub id: RowId,
    /// When upstream made the row; for one without a readable date, the instant of the row before it on its page.
    pub created_at: Timestamp,
    /// Whether `created_at` is upstream's own word.
    pub is_dated: bool,
    /// The latest change upstream tells of: `updated_at`, or `created_at` without one.
    pub changed_at: Timestamp,
    /// Where the call stood.
    pub status: Option<Status>,
    /// When the question that brought the row went upstream, by our clock.
    pub read_at: Timestamp,
    /// A digest of the bytes, the same on every replica.
    pub digest: Digest,
    /// Where the row's bytes end in the entry; the line feed follows.
    end: usize,
}

/// A digest of rows. Of several rows it is the sum, so it does not depend on how they were cut into entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u128);

impl Digest {
    /// Takes another row's digest in.
    pub const fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// A row on its way into an entry.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// The row as upstream gave it.
    pub row: Row,
    /// Its place in the order, see [`EntryRow::created_at`].
    pub created_at: Timestamp,
    /// When it was read, see [`EntryRow::read_at`].
    pub read_at: Timestamp,
    /// Its digest, see [`EntryRow::digest`].
    pub digest: Digest,
}

impl Entry {
    /// Lays rows out. They must be sorted and free of doubles, as the invariants say.
    pub fn new(new: &[NewRow]) -> Self {
        let mut bytes = Vec::with_capacity(new.iter().map(|n| n.row.bytes.len() + 1).sum());
        let mut has_line_breaks = false;
        let rows = new
            .iter()
            .map(|n| {
                has_line_breaks |= n.row.bytes.iter().any(|b| matches!(b, b'\n' | b'\r'));
                bytes.extend_from_slice(&n.row.bytes);
                let end = bytes.len();
                bytes.push(b'\n');
                EntryRow {
                    id: n.row.id.clone(),
                    created_at: n.created_at,
                    is_dated: n.row.created_at.is_some(),
                    changed_at: n.row.updated_at.unwrap_or(n.created_at).max(n.created_at),
                    status: n.row.status.clone(),
                    read_at: n.read_at,
                    digest: n.digest,
                    end,
                }
            })
            .collect();
        Self { rows, bytes: bytes.into(), has_line_breaks }
    }

    /// What is known of every row, newest first.
    pub fn rows(&self) -> &[EntryRow] {
        &self.rows
    }

    /// Every row followed by a line feed.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether any row has line breaks between its tokens, so that its bytes are more than one line.
    pub const fn has_line_breaks(&self) -> bool {
        self.has_line_breaks
    }

    /// Where the bytes of some rows lie, the line feed after each of them included.
    pub fn byte_range(&self, rows: Range<usize>) -> Range<usize> {
        let start = |row: usize| if row == 0 { 0 } else { self.rows[row - 1].end + 1 };
        start(rows.start)..start(rows.end)
    }

    /// One row's bytes, without a line feed.
    pub fn row_bytes(&self, row: usize) -> Bytes {
        self.bytes.slice(self.byte_range(row..row).start..self.rows[row].end)
    }

    /// One row as it came, to be laid out anew with others.
    pub fn take_row(&self, row: usize) -> NewRow {
        let known = &self.rows[row];
        NewRow {
            row: Row {
                id: known.id.clone(),
                created_at: known.is_dated.then_some(known.created_at),
                updated_at: Some(known.changed_at),
                status: known.status.clone(),
                bytes: self.row_bytes(row),
            },
            created_at: known.created_at,
            read_at: known.read_at,
            digest: known.digest,
        }
    }

    /// The memory that the entry holds, in bytes.
    pub fn weight(&self) -> usize {
        const SHARED: usize = 2 * size_of::<usize>();
        let row = |r: &EntryRow| {
            size_of::<EntryRow>()
                + r.id.len()
                + SHARED
                + r.status.as_ref().map_or(0, |s| s.as_str().len() + SHARED)
        };
        size_of::<Self>() + self.bytes.len() + self.rows.iter().map(row).sum::<usize>()
    }
}

/// Some rows of an entry, in its order: what an answer is made of.
#[derive(Clone, Debug)]
pub struct EntrySlice {
    /// Where the rows lie.
    pub entry: Arc<Entry>,
    /// Which of them: ascending runs of positions, none empty, none touching the next.
    pub runs: Runs,
}

/// Runs of positions in an entry; mostly one.
pub type Runs = Vec<Range<usize>>;

impl EntrySlice {
    /// The rows of an entry in `within` that `keep` lets through; none if there are none.
    pub fn select(
        entry: Arc<Entry>,
        within: Range<usize>,
        keep: impl FnMut(&EntryRow) -> bool,
    ) -> Option<Self> {
        Self::of(entry, within, keep)
    }

    fn of(
        entry: Arc<Entry>,
        among: impl Iterator<Item = usize>,
        mut keep: impl FnMut(&EntryRow) -> bool,
    ) -> Option<Self> {
        let mut runs = Runs::new();
        for position in among {
            if keep(&entry.rows[position]) {
                match runs.last_mut() {
                    Some(run) if run.end == position => run.end += 1,
                    _ => runs.push(position..position + 1),
                }
            }
        }
        (!runs.is_empty()).then_some(Self { entry, runs })
    }

    /// Those of the rows that `keep` lets through; none if there are none.
    pub fn filtered(self, keep: impl FnMut(&EntryRow) -> bool) -> Option<Self> {
        Self::of(self.entry, self.runs.into_iter().flatten(), keep)
    }

    /// The positions of the rows in the entry, in order.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().cloned().flatten()
    }

    /// What is known of the rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = &EntryRow> {
        self.positions().map(|position| &self.entry.rows[position])
    }

    /// How many rows these are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there are none; never, for a slice that was selected.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The length of the rows' bytes, one separator after each included.
    pub fn byte_len(&self) -> usize {
        self.runs.iter().map(|run| self.entry.byte_range(run.clone()).len()).sum()
    }

    /// The sum of the rows' digests.
    pub fn digest(&self) -> Digest {
        let mut sum = Digest::default();
        self.rows().for_each(|row| sum.add(row.digest));
        sum
    }
}
