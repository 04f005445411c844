//! Where to cut a span into pieces of one page each, and what the page of a piece says.

use std::time::Duration;

use super::beliefs::Beliefs;
use crate::domain::{Page, Span, Timestamp};

/// The narrowest span that can be requested with certainty.
pub(in crate::engine) const SECOND: Duration = Duration::from_secs(1);

/// Whether a part is read to find out which of `has_more` and `total` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum LookAgain {
    First,
    Second,
}

/// A span whose page had fewer rows than its total said.
pub(in crate::engine) struct Doubt {
    pub(in crate::engine) span: Span,
    pub(in crate::engine) rows: usize,
    /// How many rows the parts of the span have had so far.
    pub(in crate::engine) found: usize,
}

impl Doubt {
    /// Whether the page of a part shows that the doubtful page was cut off. No page is cut off before its first row: if it had
    /// none, rows have come since.
    pub(in crate::engine) fn is_confirmed_by(&self, part: Span, rows: usize) -> bool {
        self.rows > 0 && self.span.covers(part) && self.found + rows > self.rows
    }
}

/// What a page says about its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum PageClaim {
    /// It has all rows.
    All,
    /// There are more rows.
    More,
    /// It has all rows, by `has_more`; there are more, by `total`.
    LessThanItsTotal,
    /// It has no rows, and says that more follow.
    Nothing,
}

/// How many rows of a page are in a region. The page may reach a second beyond it.
pub(in crate::engine) fn rows_within(page: &Page, region: Span) -> usize {
    page.rows.iter().filter(|row| row.created_at.is_none_or(|at| region.contains(at))).count()
}

pub(in crate::engine) fn claim(page: &Page, beliefs: &Beliefs) -> PageClaim {
    match page.rows.len() {
        0 if beliefs.has_more && page.has_more => PageClaim::Nothing,
        _ if beliefs.says_more(page) => PageClaim::More,
        rows if beliefs.lacks(page.total, rows as u64) => PageClaim::LessThanItsTotal,
        _ => PageClaim::All,
    }
}

/// Cuts a span into pieces of about this many of the instants seen in it, newest first.
pub(in crate::engine) fn cut_at(rest: Span, mut seen: Vec<Timestamp>, rows_a_piece: usize) -> Vec<Span> {
    seen.sort_unstable();
    let mut pieces = Vec::new();
    let mut left = Some(rest);
    for instant in seen.iter().rev().skip(rows_a_piece - 1).step_by(rows_a_piece) {
        let at = instant.floor_second();
        let Some(span) = left else { break };
        if at > span.from() && at <= span.to() {
            pieces.extend(span.after(at.previous()));
            left = span.before(at);
        }
    }
    pieces.extend(left);
    pieces
}

/// The top of a region that probably fits one page, and the rest.
pub(in crate::engine) fn topmost(region: Span, fitting: Option<Duration>) -> (Span, Option<Span>) {
    let at = fitting.map(|width| region.to().minus(width).floor_second()).filter(|at| *at > region.from());
    let parts = at.and_then(|at| Some((region.after(at.previous())?, region.before(at))));
    parts.unwrap_or((region, None))
}

/// The width of a piece with `rows_a_piece` rows, judging by a piece with this many; at most twice as wide.
pub(in crate::engine) fn fitting_width(region: Span, rows: usize, rows_a_piece: usize) -> Duration {
    let factor = if rows == 0 { f64::INFINITY } else { rows_a_piece as f64 / rows as f64 };
    region.width().mul_f64(factor.clamp(0.5, 2.0)).max(SECOND)
}

/// Where to cut a region whose first page says that more follow: below about a page of rows if they come
/// newest first, otherwise in the middle of the rows seen.
pub(in crate::engine) fn cut_point(region: Span, instants: &[Timestamp], rows_a_piece: usize) -> Timestamp {
    let is_newest_first = instants.is_sorted_by(|newer, older| newer >= older);
    let fortieth = instants.get(rows_a_piece - 1).filter(|_| is_newest_first).map(|at| at.floor_second());
    let is_inside =
        |at: &Timestamp| *at > region.from() && *at <= region.to() && *at > region.outward().from();
    fortieth.filter(is_inside).unwrap_or_else(|| middle(region, instants))
}

/// A whole second in the middle of a region's rows, after its start and not after its end, so that both
/// halves are narrower than the region.
pub(in crate::engine) fn middle(region: Span, instants: &[Timestamp]) -> Timestamp {
    let asked = region.outward();
    let mut inside: Vec<Timestamp> = instants
        .iter()
        .map(|instant| instant.floor_second())
        .filter(|&at| at > region.from() && at > asked.from() && at < asked.to() && at <= region.to())
        .collect();
    inside.sort_unstable();
    let half = asked.from().plus(asked.width() / 2).floor_second().max(asked.from().plus(SECOND));
    inside.get(inside.len() / 2).copied().unwrap_or(half).min(region.to())
}

#[cfg(test)]
mod tests;
