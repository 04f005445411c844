use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Entry, EntryIndex, Span};
use crate::engine::coverage::{Contents, Segment, Trust};
use crate::store::EntryKey;
use crate::tier::{Cell, CellEntry, CellSegment, week_span};

/// A cell that is being put together.
pub(super) struct CellDraft {
    pub(super) span: Span,
    pub(super) cell: Cell,
    positions: HashMap<EntryKey, usize>,
    /// The number of added entries whose bytes the tier does not have.
    pub(super) new_entries: usize,
}

impl CellDraft {
    pub(super) fn new(week: i64) -> Self {
        let cell = Cell::empty(week);
        Self { span: week_span(week), cell, positions: HashMap::new(), new_entries: 0 }
    }

    /// Adds the part of a segment that lies in the week. Rows whose place is a guess are left out.
    pub(super) fn add(&mut self, segment: &Segment, rows: &mut Vec<(EntryKey, Arc<Entry>)>) {
        if segment.trust == Trust::Indivisible {
            return;
        }
        let Some(part) = segment.clipped(self.span) else { return };
        let kept = match &part.contents {
            Contents::Empty => None,
            Contents::Rows { key, index, entry, is_saved, rows: positions, .. } => {
                let entries = &mut self.cell.entries;
                let at = *self.positions.entry(*key).or_insert_with(|| {
                    entries.push(CellEntry { key: *key, index: Arc::clone(index) });
                    entries.len() - 1
                });
                let is_new = !is_saved && rows.iter().all(|(other, _)| other != key);
                if let Some(entry) = entry.upgrade().filter(|_| is_new) {
                    rows.push((*key, entry));
                    self.new_entries += 1;
                }
                Some((at, positions.clone()))
            }
        };
        let Segment { span, read_at, latest_read_at, trust, .. } = part;
        let is_provisional = trust == Trust::Provisional;
        self.cell.segments.push(CellSegment { span, read_at, latest_read_at, is_provisional, rows: kept });
    }
}

/// A segment as the tier kept it; none if it names rows that are not there.
pub(super) fn segment_of(
    kept: &CellSegment,
    entries: &[CellEntry],
    indexes: &HashMap<EntryKey, Arc<EntryIndex>>,
) -> Option<Segment> {
    let contents = match &kept.rows {
        None => Contents::Empty,
        Some((at, rows)) => {
            let key = entries.get(*at)?.key;
            let index = indexes.get(&key).filter(|index| rows.end <= index.len())?;
            Contents::of_tier(key, Arc::clone(index), rows.clone())
        }
    };
    let CellSegment { span, read_at, latest_read_at, is_provisional, .. } = *kept;
    let trust = if is_provisional { Trust::Provisional } else { Trust::Proven };
    Some(Segment { span, read_at, latest_read_at, trust, contents })
}
