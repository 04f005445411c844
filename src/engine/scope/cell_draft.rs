use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Entry, EntryIndex, Span};
use crate::engine::coverage::{Contents, Segment, Trust};
use crate::store::EntryKey;
use crate::tier::{Cell, CellEntry, CellSegment, week_span};

/// A cell in preparation.
pub(in crate::engine) struct CellDraft {
    pub(in crate::engine) span: Span,
    pub(in crate::engine) cell: Cell,
    positions: HashMap<EntryKey, usize>,
    /// The number of added entries whose bytes the tier does not have.
    pub(super) new_entries: usize,
}

impl CellDraft {
    pub(in crate::engine) fn new(week: i64) -> Self {
        let cell = Cell { week, segments: Vec::new(), entries: Vec::new() };
        Self { span: week_span(week), cell, positions: HashMap::new(), new_entries: 0 }
    }

    /// Adds the part of a segment that lies in the week, unless it is known only for a short time.
    pub(in crate::engine) fn add(&mut self, segment: &Segment, rows: &mut Vec<(EntryKey, Arc<Entry>)>) {
        if segment.trust != Trust::Proven {
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
        let Segment { span, read_at, latest_read_at, .. } = part;
        self.cell.segments.push(CellSegment { span, read_at, latest_read_at, rows: kept });
    }
}

/// A segment as the tier kept it; `None` if it names rows that are not there.
pub(in crate::engine) fn segment_of(
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
    let CellSegment { span, read_at, latest_read_at, .. } = *kept;
    Some(Segment { span, read_at, latest_read_at, trust: Trust::Proven, contents })
}
