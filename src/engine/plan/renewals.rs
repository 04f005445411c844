//! Chooses the settled parts to renew in the background, a page of rows at a time.
//!
//! A page with `has_more: false` needs no further proof, so renewing a page takes one request. A due part
//! with fewer rows also takes the parts below it that come due soon. Over time, pages fill up, however small
//! the pieces were in which history was first read.

use std::time::Duration;

use crate::domain::{MAX_PAGE_SIZE, Span, Timestamp};
use crate::engine::coverage::Segment;

/// The most parts chosen for renewal at once.
const MOST: usize = 8;

/// How many rows a renewal is filled up to: a page, less one row that may share its outermost second.
const ROWS: usize = MAX_PAGE_SIZE - 1;

const SECOND: Duration = Duration::from_secs(1);

/// How soon a part is due for renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ripeness {
    /// Not soon.
    Young,
    /// Soon: it may be renewed together with another part.
    Ripe,
    /// Now.
    Due,
}

/// The parts to renew, collected newest first.
#[derive(Debug)]
pub(super) struct Renewals {
    window: Duration,
    runs: Vec<RenewalRun>,
}

/// Rows that one request renews.
#[derive(Clone, Copy, Debug)]
struct RenewalRun {
    /// When the part that was read first was read.
    read_at: Timestamp,
    span: Span,
    rows: usize,
}

impl Renewals {
    pub(super) const fn new(window: Duration) -> Self {
        Self { window, runs: Vec::new() }
    }

    /// Adds a part of a segment, which is below all earlier parts.
    pub(super) fn meet(&mut self, segment: &Segment, part: Span, ripeness: Ripeness) {
        if ripeness == Ripeness::Young {
            return;
        }
        let left = match self.runs.last_mut() {
            Some(run) => run.fill(segment, part, self.window),
            None => Some(part),
        };
        if let Some(span) = left.filter(|_| ripeness == Ripeness::Due) {
            let mut run = RenewalRun { read_at: segment.read_at, span, rows: 0 };
            run.rows = rows_within(segment, span, usize::MAX).map_or(0, |(rows, _)| rows);
            self.runs.push(run);
        }
    }

    /// The parts to renew, longest unread first, except for those that are read anyway.
    pub(super) fn finish(mut self, reads: &[Span]) -> Vec<Span> {
        self.runs.retain(|run| !reads.iter().any(|read| read.covers(run.span)));
        self.runs.sort_by_key(|run| run.read_at);
        self.runs.truncate(MOST);
        self.runs.into_iter().flat_map(|run| run.span.split(self.window)).collect()
    }
}

impl RenewalRun {
    /// Adds the part right below, or as much of it as fits on the page; returns the rest.
    fn fill(&mut self, segment: &Segment, part: Span, window: Duration) -> Option<Span> {
        if self.span.from() != part.to().next() || self.rows >= ROWS {
            return Some(part);
        }
        let (rows, reach) = match rows_within(segment, part, ROWS - self.rows) {
            None => (0, part),
            Some((rows, None)) => (rows, part),
            Some((rows, Some(below))) => match part.after(below) {
                Some(above) => (rows, above),
                None => return Some(part),
            },
        };
        let span = self.span.union(reach);
        if span.outward().width() > window {
            return Some(part);
        }
        (self.span, self.rows) = (span, self.rows + rows);
        self.read_at = self.read_at.min(segment.read_at);
        part.before(reach.from())
    }
}

/// The number of a segment's rows within a part, up to `most`, and the end of the second below them; `None`
/// if there are no rows. Rows of one second stay together.
fn rows_within(segment: &Segment, part: Span, most: usize) -> Option<(usize, Option<Timestamp>)> {
    let rows = segment.facts_within(part)?;
    let Some(first_below) = rows.get(most) else { return Some((rows.len(), None)) };
    let below = first_below.created_at.floor_second().plus(SECOND).previous();
    Some((rows.newer_than(below), Some(below)))
}
