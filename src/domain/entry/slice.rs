use std::ops::Range;
use std::sync::Arc;

use super::{Digest, Entry, EntryRow, Runs};
use crate::domain::Span;

/// Some rows of an entry, in its order. Responses are made of slices.
#[derive(Clone, Debug)]
pub struct EntrySlice {
    /// The entry that has the rows.
    pub entry: Arc<Entry>,
    /// Their positions: ascending runs, none empty, none adjacent to the next.
    pub runs: Runs,
}

impl EntrySlice {
    /// These rows of an entry; `None` if there are none.
    pub fn all(entry: Arc<Entry>, rows: Range<usize>) -> Option<Self> {
        (!rows.is_empty()).then(|| Self { entry, runs: vec![rows] })
    }

    /// The rows of an entry at some positions that `keep` accepts; `None` if there are none.
    pub fn select(
        entry: Arc<Entry>,
        among: impl Iterator<Item = usize>,
        mut keep: impl FnMut(&EntryRow<'_>) -> bool,
    ) -> Option<Self> {
        let mut runs = Runs::new();
        for position in among {
            if keep(&entry.rows().at(position)) {
                match runs.last_mut() {
                    Some(run) if run.end == position => run.end += 1,
                    _ => runs.push(position..position + 1),
                }
            }
        }
        (!runs.is_empty()).then_some(Self { entry, runs })
    }

    /// The rows that `keep` accepts; `None` if there are none.
    pub fn filtered(self, keep: impl FnMut(&EntryRow<'_>) -> bool) -> Option<Self> {
        Self::select(self.entry, self.runs.into_iter().flatten(), keep)
    }

    /// The positions of the rows in the entry, in order.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().cloned().flatten()
    }

    /// The facts about the rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = EntryRow<'_>> {
        self.positions().map(|position| self.entry.rows().at(position))
    }

    /// Whether these are all rows of the entry.
    pub fn is_whole(&self) -> bool {
        self.runs.first().is_some_and(|run| *run == (0..self.entry.rows().len()))
    }

    /// Whether all rows were created within a span.
    pub fn is_within(&self, span: Span) -> bool {
        let newest = self.runs.first().map(|run| run.start);
        let oldest = self.runs.last().map(|run| run.end - 1);
        [newest, oldest].into_iter().flatten().all(|row| span.contains(self.entry.rows().at(row).created_at))
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there are no rows; never true for a slice that was selected.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The length of the rows' bytes, including one separator after each.
    pub fn byte_len(&self) -> usize {
        self.runs.iter().map(|run| self.entry.byte_range(run.clone()).len()).sum()
    }

    /// The sum of the rows' digests.
    pub fn digest(&self) -> Digest {
        if self.is_whole() {
            return self.entry.digest();
        }
        let mut sum = Digest::default();
        self.rows().for_each(|row| sum.add(row.digest));
        sum
    }
}
