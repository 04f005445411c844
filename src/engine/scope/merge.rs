//! What is known of single rows better than a piece tells it.

use std::collections::{HashMap, HashSet};

use super::{Known, ScopeKey};
use crate::domain::{EntryRow, NewRow, RowId, Span, Timestamp};
use crate::engine::coverage::{Contents, Segment};
use crate::engine::reading::Piece;
use crate::store::Store;

impl Known {
    /// The piece with what is known better of its rows; none if nothing is.
    pub(super) fn merged(&self, piece: &Piece) -> Option<Piece> {
        let newer = self.with_newer(piece);
        let filled = self.with_undated(newer.as_ref().unwrap_or(piece));
        filled.or(newer)
    }

    /// The piece with the rows that a probe brought after it was asked for in place of its own; none if there are no
    /// such rows. Segments that were read later as a whole stay as they are.
    fn with_newer(&self, piece: &Piece) -> Option<Piece> {
        let asked_at = piece.asked_at.ours;
        let mut newer: HashMap<RowId, NewRow> = HashMap::new();
        let older = |segment: &&Segment| segment.latest_read_at <= asked_at;
        for segment in self.coverage.overlapping(piece.span).filter(older) {
            let Some((entry, rows)) = segment.rows() else { continue };
            let probed = rows.filter(|at| entry.rows()[*at].read_at > asked_at);
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

    /// The piece with the rows without a date that are known within its span and were not asked for with it; none if
    /// there are no such rows.
    ///
    /// Upstream has such a row somewhere between its neighbors that have one. Only a piece that reaches from the one
    /// to the other tells that it has gone.
    fn with_undated(&self, piece: &Piece) -> Option<Piece> {
        let mut left_out = Vec::new();
        for segment in self.coverage.overlapping(piece.span).filter(|segment| segment.may_have_undated()) {
            let Some((entry, rows)) = segment.rows() else { continue };
            for position in rows {
                let row = &entry.rows()[position];
                if row.is_dated || !piece.span.contains(row.created_at) {
                    continue;
                }
                let below = self.coverage.dated_below(row.created_at).unwrap_or(segment.span.from());
                let above = self.coverage.dated_above(row.created_at).or(self.coverage.end());
                let between = Span::new(below, above.unwrap_or(below));
                let is_in_piece = || piece.rows.iter().any(|new| new.row.id == row.id);
                if !between.is_some_and(|between| piece.span.covers(between)) && !is_in_piece() {
                    left_out.extend(entry.take_rows(position..position + 1).into_iter().flatten());
                }
            }
        }
        if left_out.is_empty() {
            return None;
        }
        let rows = left_out.into_iter().chain(piece.rows.iter().cloned()).collect();
        Some(Piece::new(piece.span, rows, piece.asked_at))
    }

    /// Takes for unknown where the rows without a date may be that the store has dropped: not only their place, but all
    /// between their neighbors that have a date.
    pub(in crate::engine) fn forget_dropped_places(&mut self, store: &dyn Store) {
        if !self.has_undated {
            return;
        }
        let is_dropped = |segment: &&Segment| !segment.is_kept() && segment.may_have_undated();
        let dropped: Vec<Span> = self.coverage.all().filter(is_dropped).map(|segment| segment.span).collect();
        for span in dropped {
            self.forget(store, span);
        }
    }

    /// Forgets what is known of a span. Of rows without a date that were put there it is then not known any more that
    /// they are in no place between their neighbors.
    pub(super) fn forget(&mut self, store: &dyn Store, span: Span) {
        let bounds = self.has_undated.then(|| {
            let below = self.coverage.dated_below(span.from()).unwrap_or(Timestamp::MIN);
            let above = self.coverage.dated_above(span.to()).unwrap_or(Timestamp::MAX);
            Span::new(below, above)
        });
        self.replace(store, bounds.flatten().unwrap_or(span), Vec::new());
    }

    /// Takes the rows without a date that a piece brings from where they were known before: one that others came
    /// before has another place now.
    pub(super) fn forget_older_places(&mut self, scope: ScopeKey, store: &dyn Store, piece: &Piece) {
        let undated = |row: &&NewRow| row.row.created_at.is_none();
        let moved: HashSet<&RowId> = piece.rows.iter().filter(undated).map(|row| &row.row.id).collect();
        if moved.is_empty() {
            return;
        }
        self.has_undated = true;
        let is_old = |row: &EntryRow| moved.contains(&row.id) && row.read_at < piece.asked_at.ours;
        let segments: Vec<Segment> = self.coverage.all().filter(|s| s.may_have_undated()).cloned().collect();
        for segment in segments.into_iter().filter(|segment| !piece.span.covers(segment.span)) {
            let Some((entry, rows)) = segment.rows() else { continue };
            if entry.rows()[rows.clone()].iter().any(is_old) {
                let Ok(taken) = entry.take_rows(rows.clone()) else { continue };
                let known = entry.rows()[rows].iter().zip(taken);
                let left: Vec<NewRow> =
                    known.filter(|(row, _)| !is_old(row)).map(|(_, taken)| taken).collect();
                self.lay(scope, store, Segment { contents: Contents::Empty, ..segment }, &left);
            }
        }
    }
}
