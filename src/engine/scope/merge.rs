//! What is known of single rows better than a piece tells it.

use std::collections::HashMap;

use super::Known;
use crate::domain::{NewRow, RowId};
use crate::engine::coverage::{Piece, Segment};

impl Known {
    /// The piece with the rows that a probe brought after it was asked for in place of its own; none if there are no
    /// such rows. Segments that were read later as a whole stay as they are.
    pub(super) fn with_newer(&self, piece: &Piece) -> Option<Piece> {
        let asked_at = piece.asked_at.ours;
        let mut newer: HashMap<RowId, NewRow> = HashMap::new();
        let older = |segment: &&Segment| segment.latest_read_at <= asked_at;
        for segment in self.coverage.overlapping(piece.span).filter(older) {
            let Some((entry, rows)) = segment.rows() else { continue };
            let probed = rows.filter(|at| entry.rows().at(*at).read_at > asked_at);
            let taken = probed.flat_map(|at| entry.take_rows(at..at + 1).into_iter().flatten());
            newer.extend(taken.map(|row| (row.row.id.clone(), row)));
        }
        if newer.is_empty() {
            return None;
        }
        let mut piece = piece.clone();
        for row in &mut piece.rows {
            if let Some(newer) = newer.remove(&row.row.id) {
                *row = NewRow { created_at: row.created_at, ..newer };
            }
        }
        Some(piece)
    }
}
