//! Replaces parts of a kept cell by what is known now.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::domain::{EntryIndex, Span, Timestamp};
use crate::store::EntryKey;
use crate::tier::{Cell, CellEntry, CellHead, CellSegment, ForgottenSpan, KnownAge, ScopeChanges, week_of};

/// The weeks that can have rows: 1970 to 2069. Forgotten spans may be wider.
const WEEKS: std::ops::RangeInclusive<i64> = 0..=5200;

/// Returns what to keep of a week: the kept cell without what was forgotten, and the new cell in place of whatever it covers,
/// except where the kept cell is newer.
///
/// An entry that both cells name gets the new index: its rows are the same.
pub(crate) fn lay_over(kept: &Cell, forgotten: &[ForgottenSpan], new: Option<&Cell>) -> Cell {
    let mut result = CellBuilder::new(kept.week);
    let new_segments = new.map_or(&[][..], |new| &new.segments);
    let left: Vec<(&CellSegment, Vec<Span>)> = kept
        .segments
        .iter()
        .map(|segment| {
            let no_longer_true = forgotten.iter().filter(|gone| segment.latest_read_at <= gone.until);
            (segment, without(segment.span, &no_longer_true.map(|gone| gone.span).collect::<Vec<_>>()))
        })
        .collect();
    let is_over = |head: &CellHead| {
        forgotten.iter().any(|gone| gone.span.contains(head.to) && head.read_at <= gone.until)
    };
    let heads = kept.head.filter(|head| !is_over(head)).into_iter().chain(new.and_then(|new| new.head));
    result.cell.head = heads.max_by_key(|head| head.read_at);
    let mut laid = Vec::new();
    for segment in new_segments {
        let is_newer = |kept_segment: &CellSegment| {
            let (Some(new), Some(both)) = (new, kept_segment.span.intersection(segment.span)) else {
                return false;
            };
            age(kept, kept_segment, both).is_newer_than(&age(new, segment, both))
        };
        let newer = left.iter().filter(|(kept, _)| is_newer(kept));
        let newer: Vec<Span> = newer.flat_map(|(_, spans)| spans).copied().collect();
        for span in without(segment.span, &newer) {
            if let Some(new) = new {
                result.add(new, segment, span);
                laid.push(span);
            }
        }
    }
    for (segment, spans) in left {
        for span in spans.into_iter().flat_map(|span| without(span, &laid)) {
            result.add(kept, segment, span);
        }
    }
    result.finish()
}

fn age<'c>(cell: &'c Cell, segment: &CellSegment, within: Span) -> KnownAge<'c> {
    let rows = segment.rows.as_ref().and_then(|(entry, rows)| {
        let index = &cell.entries.get(*entry)?.index;
        Some(index.rows().slice(rows_within(index, rows, within)?))
    });
    KnownAge { oldest: segment.read_at, latest: segment.latest_read_at, rows }
}

/// Returns the segments of a cell for which `holds` returns true, and their entries; the head only if it does so for all.
pub(crate) fn only(cell: &Cell, holds: impl Fn(&CellSegment) -> bool) -> Cell {
    let mut result = CellBuilder::new(cell.week);
    result.cell.head = cell.head;
    for segment in &cell.segments {
        if holds(segment) {
            result.add(cell, segment, segment.span);
        } else {
            result.cell.head = None;
        }
    }
    result.finish()
}

/// The parts of a span outside the others, newest first.
fn without(span: Span, others: &[Span]) -> Vec<Span> {
    let mut parts = vec![span];
    for other in others {
        let cut = |part: Span| {
            if part.intersection(*other).is_none() {
                return [Some(part), None];
            }
            [part.after(other.to()), part.before(other.from())]
        };
        parts = parts.into_iter().flat_map(cut).flatten().collect();
    }
    parts
}

/// Builds a cell from parts of other cells.
struct CellBuilder {
    cell: Cell,
    places: HashMap<EntryKey, usize>,
}

impl CellBuilder {
    fn new(week: i64) -> Self {
        Self { cell: Cell::empty(week), places: HashMap::new() }
    }

    /// Adds the part of a segment within a span.
    fn add(&mut self, of: &Cell, segment: &CellSegment, span: Span) {
        let rows = segment.rows.as_ref().and_then(|(entry, rows)| {
            let entry = of.entries.get(*entry)?;
            let rows =
                if span == segment.span { rows.clone() } else { rows_within(&entry.index, rows, span)? };
            (!rows.is_empty()).then(|| (self.place(entry), rows))
        });
        self.cell.segments.push(CellSegment { span, rows, ..segment.clone() });
    }

    fn place(&mut self, entry: &CellEntry) -> usize {
        let entries = &mut self.cell.entries;
        *self.places.entry(entry.key).or_insert_with(|| {
            entries.push(entry.clone());
            entries.len() - 1
        })
    }

    fn finish(mut self) -> Cell {
        self.cell.segments.sort_by_key(|segment| std::cmp::Reverse(segment.span.to()));
        self.cell
    }
}

/// Those of the rows that were created within a span.
fn rows_within(index: &EntryIndex, rows: &Range<usize>, span: Span) -> Option<Range<usize>> {
    if rows.end > index.len() || rows.start > rows.end {
        return None;
    }
    let among = index.rows().slice(rows.clone());
    let (start, end) = (among.newer_than(span.to()), among.not_older_than(span.from()));
    Some(rows.start + start..rows.start + end.max(start))
}

/// When the oldest and the newest row of an index were created.
pub(crate) fn extent(index: &EntryIndex) -> Option<(Timestamp, Timestamp)> {
    let rows = index.rows();
    let last = rows.len().checked_sub(1)?;
    Some((rows.get(last)?.created_at, rows.get(0)?.created_at))
}

/// The weeks that changes touch.
pub(crate) fn weeks_of(changes: &ScopeChanges) -> BTreeSet<i64> {
    let forgotten = |gone: &ForgottenSpan| {
        week_of(gone.span.from()).max(*WEEKS.start())..=week_of(gone.span.to()).min(*WEEKS.end())
    };
    let cells = changes.cells.iter().map(|cell| cell.week);
    cells.chain(changes.forgotten.iter().flat_map(forgotten)).collect()
}

#[cfg(test)]
#[path = "lay_over_tests.rs"]
mod tests;
