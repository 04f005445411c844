use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::domain::{Entry, EntryIndex, EntryRows, Span, Status, Timestamp};
use crate::engine::terms::RowNeed;
use crate::store::EntryKey;

/// A known span, and the rows of an entry that lie in it. The index of the rows stays when the store drops
/// their bytes.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Segment {
    pub(in crate::engine) span: Span,
    /// When its oldest part was read.
    pub(in crate::engine) read_at: Timestamp,
    /// When its newest part was read.
    pub(in crate::engine) latest_read_at: Timestamp,
    pub(in crate::engine) trust: Trust,
    pub(in crate::engine) contents: Contents,
}

/// How far a segment can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Trust {
    /// It was read long enough after its end.
    Proven,
    /// It lies within the commit lag before its read. It is known for the live time to live, and then a gap.
    Provisional,
    /// It has rows without a readable `created_at`, whose place is a guess. It is known for the live time to
    /// live, and only to questions that cover all of it.
    Indivisible,
}

/// The rows of a segment.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Contents {
    /// There are none.
    Empty,
    /// These rows of an entry.
    Rows {
        key: EntryKey,
        /// What is known of them apart from their bytes.
        index: Arc<EntryIndex>,
        /// Their bytes, as long as the store keeps them; shows whether it does without asking it.
        entry: Weak<Entry>,
        /// Whether the tier keeps the bytes too, so that they need not be read again if the store drops them.
        is_saved: bool,
        rows: Range<usize>,
        times: RowTimes,
    },
}

/// The times of a segment's rows, which show whether planning has to look at each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct RowTimes {
    pub(in crate::engine) latest: LatestChange,
    /// When the first of the rows was read.
    pub(in crate::engine) oldest_read_at: Timestamp,
    /// Whether any row is doubted.
    pub(in crate::engine) has_doubted: bool,
}

/// The latest change of some rows. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum LatestChange {
    /// All calls have ended, and the last change was at this instant.
    At(Timestamp),
    /// The call of at least one row is still in progress.
    Pending,
}

impl Segment {
    /// Whether it can serve a question about this span.
    pub(in crate::engine) fn serves(&self, question: Span, need: &RowNeed) -> bool {
        let is_there = !self.lacks(need) || self.is_saved();
        is_there && (self.trust != Trust::Indivisible || question.covers(self.span))
    }

    /// Whether something that is needed of its rows is not in memory.
    fn lacks(&self, need: &RowNeed) -> bool {
        match need {
            RowNeed::Bytes => !self.has_bytes(),
            RowNeed::Facts => false,
            RowNeed::Columns(ids) => {
                !self.has_bytes() && self.index().is_none_or(|index| !index.has_columns(ids))
            }
        }
    }

    /// Whether only the tier has what is needed of its rows.
    pub(in crate::engine) fn is_only_saved(&self, need: &RowNeed) -> bool {
        self.is_saved() && self.lacks(need)
    }

    /// Whether the store has the bytes of its rows; true of a segment without rows.
    pub(in crate::engine) fn has_bytes(&self) -> bool {
        match &self.contents {
            Contents::Empty => true,
            Contents::Rows { entry, .. } => entry.strong_count() > 0,
        }
    }

    /// Whether the tier keeps the bytes of its rows.
    pub(in crate::engine) const fn is_saved(&self) -> bool {
        matches!(self.contents, Contents::Rows { is_saved: true, .. })
    }

    /// Its share of the bytes of its index, if the bytes of the rows are gone; otherwise 0.
    pub(in crate::engine) fn bare_index_bytes(&self) -> u64 {
        match &self.contents {
            Contents::Rows { index, rows, .. } if !self.has_bytes() => {
                (index.weight() * rows.len() / index.len().max(1)) as u64
            }
            Contents::Rows { .. } | Contents::Empty => 0,
        }
    }

    /// Its share of the bytes of its index's columns.
    pub(in crate::engine) fn column_bytes(&self) -> u64 {
        match &self.contents {
            Contents::Rows { index, rows, .. } => {
                index.column_bytes() * rows.len() as u64 / index.len().max(1) as u64
            }
            Contents::Empty => 0,
        }
    }

    /// The index that its rows are in; `None` if it has no rows.
    pub(in crate::engine) fn index(&self) -> Option<&Arc<EntryIndex>> {
        match &self.contents {
            Contents::Empty => None,
            Contents::Rows { index, .. } => Some(index),
        }
    }

    /// Whether the call of any of its rows is still in progress.
    pub(in crate::engine) fn has_unfinished(&self) -> bool {
        match &self.contents {
            Contents::Empty => false,
            Contents::Rows { times, .. } => times.latest == LatestChange::Pending,
        }
    }

    /// The number of its rows.
    pub(in crate::engine) fn len(&self) -> usize {
        match &self.contents {
            Contents::Empty => 0,
            Contents::Rows { rows, .. } => rows.len(),
        }
    }

    /// The facts about its rows; `None` if it has no rows.
    pub(in crate::engine) fn facts(&self) -> Option<EntryRows<'_>> {
        match &self.contents {
            Contents::Empty => None,
            Contents::Rows { index, rows, .. } => Some(index.rows().slice(rows.clone())),
        }
    }

    /// The facts about its rows within a span; `None` if it has no rows.
    pub(in crate::engine) fn facts_within(&self, span: Span) -> Option<EntryRows<'_>> {
        let rows = self.facts()?;
        Some(rows.slice(positions_within(rows, span)))
    }

    /// Its entry and the positions of its rows there; `None` if it has no rows or the bytes are gone.
    pub(in crate::engine) fn rows(&self) -> Option<(Arc<Entry>, Range<usize>)> {
        match &self.contents {
            Contents::Empty => None,
            Contents::Rows { entry, rows, .. } => Some((entry.upgrade()?, rows.clone())),
        }
    }

    /// The key of its entry.
    pub(in crate::engine) fn key(&self) -> Option<EntryKey> {
        match &self.contents {
            Contents::Empty => None,
            Contents::Rows { key, .. } => Some(*key),
        }
    }

    /// The part of it within a span; `None` if there is none, or if the segment is indivisible.
    pub(in crate::engine) fn clipped(&self, to: Span) -> Option<Self> {
        let span = self.span.intersection(to)?;
        if span == self.span {
            return Some(self.clone());
        }
        if self.trust == Trust::Indivisible {
            return None;
        }
        let contents = match &self.contents {
            Contents::Empty => Contents::Empty,
            Contents::Rows { key, index, entry, is_saved, rows, .. } => {
                let part = positions_within(index.rows().slice(rows.clone()), span);
                let rows = rows.start + part.start..rows.start + part.end;
                Contents::new(*key, Arc::clone(index), Weak::clone(entry), *is_saved, rows)
            }
        };
        Some(Self { span, contents, ..*self })
    }
}

impl Contents {
    /// These rows of an entry.
    pub(in crate::engine) fn of(key: EntryKey, entry: &Arc<Entry>, rows: Range<usize>) -> Self {
        Self::new(key, Arc::clone(entry.index()), Arc::downgrade(entry), false, rows)
    }

    /// The rows of an index, whose bytes are gone.
    pub(in crate::engine) fn without_bytes(key: EntryKey, index: Arc<EntryIndex>) -> Self {
        let rows = 0..index.len();
        Self::new(key, index, Weak::new(), false, rows)
    }

    /// These rows of an index, whose bytes the tier keeps.
    pub(in crate::engine) fn of_tier(key: EntryKey, index: Arc<EntryIndex>, rows: Range<usize>) -> Self {
        Self::new(key, index, Weak::new(), true, rows)
    }

    fn new(
        key: EntryKey,
        index: Arc<EntryIndex>,
        entry: Weak<Entry>,
        is_saved: bool,
        rows: Range<usize>,
    ) -> Self {
        match RowTimes::of(index.rows().slice(rows.clone())) {
            None => Self::Empty,
            Some(times) => Self::Rows { key, index, entry, is_saved, rows, times },
        }
    }
}

impl RowTimes {
    /// The times of these rows; `None` if there are no rows. How long a row takes to settle is not known
    /// here.
    fn of(rows: EntryRows<'_>) -> Option<Self> {
        rows.iter()
            .map(|row| {
                let is_terminal = row.status.is_some_and(Status::is_terminal);
                let latest =
                    if is_terminal { LatestChange::At(row.changed_at) } else { LatestChange::Pending };
                Self { latest, oldest_read_at: row.read_at, has_doubted: row.is_doubted }
            })
            .reduce(|a, b| Self {
                latest: a.latest.max(b.latest),
                oldest_read_at: a.oldest_read_at.min(b.oldest_read_at),
                has_doubted: a.has_doubted || b.has_doubted,
            })
    }
}

/// The positions of the rows that were created within a span.
pub(in crate::engine) fn positions_within(rows: EntryRows<'_>, span: Span) -> Range<usize> {
    let (start, end) = (rows.newer_than(span.to()), rows.not_older_than(span.from()));
    start..end.max(start)
}
