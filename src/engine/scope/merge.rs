//! Keeps rows that probes read later than a piece.

use std::collections::HashMap;

use super::Known;
use crate::domain::{NewRow, RowChange, RowId};
use crate::engine::coverage::{Piece, Segment};

impl Known {
    /// The piece with rows that a probe brought after the piece was requested; `None` if there are none.
    /// Segments that were read later as a whole stay as they are. If the bytes of a later row are gone, the
    /// piece's own row is doubted.
    pub(super) fn with_newer(&self, piece: &Piece) -> Option<Piece> {
        let asked_at = piece.asked_at.ours;
        let mut newer: HashMap<RowId, Option<NewRow>> = HashMap::new();
        let older = |segment: &&Segment| segment.latest_read_at <= asked_at;
        for segment in self.coverage.overlapping(piece.span).filter(older) {
            let Some(facts) = segment.facts() else { continue };
            let kept = segment.rows();
            for (position, row) in facts.iter().enumerate().filter(|(_, row)| row.read_at > asked_at) {
                let taken = kept.as_ref().and_then(|(entry, rows)| {
                    let at = rows.start + position;
                    entry.take_rows(at..at + 1).ok()?.pop()
                });
                newer.insert(row.id(), taken);
            }
        }
        if newer.is_empty() {
            return None;
        }
        let mut piece = piece.clone();
        for row in &mut piece.rows {
            match newer.remove(&row.row.id) {
                Some(Some(newer)) => row.change(RowChange::Row(&newer)),
                Some(None) => row.change(RowChange::Doubted),
                None => {}
            }
        }
        Some(piece)
    }
}
