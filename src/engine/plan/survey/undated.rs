//! Where rows without a date may be that are due: somewhere between their neighbors that have one.

use super::Survey;
use crate::domain::{Span, Timestamp};
use crate::engine::coverage::Segment;

impl Survey<'_> {
    /// The rows without a date of a part that is known or read as a whole: one that is due may lie beside it.
    pub(super) fn undated_rows(&mut self, segment: &Segment, question: Span) {
        if !segment.may_have_undated() {
            return;
        }
        let Some((entry, rows)) = segment.rows() else { return };
        for row in &entry.rows()[rows] {
            if row.is_dated {
                self.dated(row.created_at);
            } else if question.contains(row.created_at) && self.policy.due_at(row, self.ttl(row)) < self.now {
                self.undated(row.created_at);
            }
        }
    }

    /// The place of a row without a date that is due.
    pub(super) fn undated(&mut self, place: Timestamp) {
        let above = self.dated.into_iter().flatten().find(|at| *at > place);
        self.undated.get_or_insert((place, above.unwrap_or(Timestamp::MAX)));
    }

    /// A row with a date. Upstream has those without one somewhere between their neighbors that have one: all of that
    /// is read for one that is due.
    pub(super) fn dated(&mut self, instant: Timestamp) {
        if let Some((_, above)) = self.undated.filter(|(place, _)| instant < *place) {
            self.undated = None;
            self.reads.extend(Span::new(instant, above));
        }
        if self.dated[0] != Some(instant) {
            self.dated = [Some(instant), self.dated[0]];
        }
    }
}
