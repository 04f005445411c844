//! Which settled parts are renewed behind the answers: a page of rows at a time.
//!
//! A page that says "no more" is beyond doubt, so a renewal of a page is one request. A part whose time has come and that
//! holds fewer rows takes along what lies below it, if that comes up before long: so in the course of time pages fill up,
//! in whatever pieces history was read first.

use std::time::Duration;

use crate::domain::{MAX_PAGE_SIZE, Span, Timestamp};
use crate::engine::coverage::Segment;

/// The most parts named for renewal at once.
const MOST: usize = 8;

/// How many rows a renewal is filled up to: a page, less one that may share its outermost second.
const ROWS: usize = MAX_PAGE_SIZE - 1;

const SECOND: Duration = Duration::from_secs(1);

/// How soon a part is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ripeness {
    /// Not for long.
    Young,
    /// Before long: it may come along.
    Ripe,
    /// Now.
    Due,
}

/// What is to be renewed, as it is met, newest first.
#[derive(Debug)]
pub(super) struct Renewals {
    window: Duration,
    runs: Vec<RenewalRun>,
}

/// Rows to be renewed by one request.
#[derive(Clone, Copy, Debug)]
struct RenewalRun {
    /// When the part of it that was read first was read.
    read_at: Timestamp,
    span: Span,
    rows: usize,
}

impl Renewals {
    pub(super) const fn new(window: Duration) -> Self {
        Self { window, runs: Vec::new() }
    }

    /// Takes note of a part of a segment, which lies below all before.
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

    /// What to renew, longest unread first, without what is read anyway.
    pub(super) fn finish(mut self, reads: &[Span]) -> Vec<Span> {
        self.runs.retain(|run| !reads.iter().any(|read| read.covers(run.span)));
        self.runs.sort_by_key(|run| run.read_at);
        self.runs.truncate(MOST);
        self.runs.into_iter().flat_map(|run| run.span.split(self.window)).collect()
    }
}

impl RenewalRun {
    /// Takes in a part right below, or as much of it as a page has room for; gives back the rest.
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

/// How many rows of a segment lie in a part of it, up to so many, and the end of the second below those; none if it has
/// no rows. The rows of one second stay together.
fn rows_within(segment: &Segment, part: Span, most: usize) -> Option<(usize, Option<Timestamp>)> {
    let rows = segment.facts_within(part)?;
    let Some(first_below) = rows.get(most) else { return Some((rows.len(), None)) };
    let below = first_below.created_at.floor_second().plus(SECOND).previous();
    Some((rows.newer_than(below), Some(below)))
}
