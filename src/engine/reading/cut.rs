//! Cutting: reading a span in pieces of which each is one page, and so beyond doubt.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::piece::{AskedAt, Piece, place};
use super::reader::{Desk, Ended, MAX_PAGES, Reader, endless, inconsistent};
use super::rounds::{Belief, Rounds};
use super::walk::Dates;
use crate::domain::{Page, Span, Timestamp};

/// How many rows seen earlier a piece is cut to: a page, less what may have come since.
const ROWS_A_PIECE: usize = 42;

/// How many empty pages that promise more are believed to be a passing fault.
const MAX_EMPTY_PAGES: u32 = 3;

/// How often one second that holds more than a page is read.
const MAX_ROUNDS: usize = 32;

/// How long a second that has grown rests before it is read again, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// The most pages that one second is believed to hold: ten thousand executions.
const MAX_PAGES_A_SECOND: u32 = 200;

/// The narrowest span that can be asked for with certainty.
const SECOND: Duration = Duration::from_secs(1);

impl Reader<'_> {
    /// Reads a region in pieces that are one page each, newest first. `first` is its first page, if it is there.
    ///
    /// A page that promises more says nothing of its region, in whatever order it comes: it only tells how densely
    /// rows lie, and so where to cut. Every piece given is one answer that says "no more".
    pub(super) fn cut<'s>(
        &'s self,
        region: Span,
        mut first: Option<(Page, AskedAt)>,
        desk: &'s dyn Desk,
    ) -> BoxFuture<'s, Result<(), Ended>> {
        Box::pin(async move {
            let mut left = VecDeque::from([region]);
            let (mut empty_pages, mut fitting) = (0, None);
            while let Some(region) = left.pop_front() {
                let (page, asked_at, region) = match first.take() {
                    Some((page, asked_at)) => (page, asked_at, region),
                    None => {
                        let (region, rest) = topmost(region, fitting);
                        rest.into_iter().for_each(|rest| left.push_front(rest));
                        desk.room(0).await?;
                        let (page, asked_at) = self.page(region.outward(), 1, Dates::Kept, desk).await?;
                        (page, asked_at, region)
                    }
                };
                let asked = region.outward();
                if !page.has_more {
                    fitting = Some(fitting_width(region, page.rows.len()));
                    let rows = place(page, None, region, asked_at.ours);
                    desk.give(Piece::new(region, rows, asked_at));
                    continue;
                }
                if page.rows.is_empty() {
                    empty_pages += 1;
                    if empty_pages > MAX_EMPTY_PAGES {
                        return Err(inconsistent(region, "an empty page says that more follow"));
                    }
                    left.push_front(region);
                    continue;
                }
                if asked.width() <= SECOND {
                    self.rounds(region, asked, Dates::Kept, desk).await?;
                    continue;
                }
                let instants: Vec<Timestamp> = page.rows.iter().filter_map(|row| row.created_at).collect();
                let at = cut_point(region, &instants);
                fitting = region.after(at).map(Span::width);
                let (upper, lower) = (region.after(at.previous()), region.before(at));
                // The upper part comes next.
                lower.into_iter().chain(upper).for_each(|part| left.push_front(part));
            }
            Ok(())
        })
    }

    /// Reads all pages of a list again and again, until rounds bring nothing new.
    pub(super) async fn rounds(
        &self,
        region: Span,
        asked: Span,
        dates: Dates,
        desk: &dyn Desk,
    ) -> Result<(), Ended> {
        let mut rounds = Rounds::new(region);
        let most_pages = if asked.width() <= SECOND { MAX_PAGES_A_SECOND } else { MAX_PAGES };
        let (mut first_asked_at, mut rest) = (None, FIRST_REST);
        for _ in 0..MAX_ROUNDS {
            rounds.begin();
            for number in 1.. {
                if number > most_pages {
                    return Err(endless(asked));
                }
                desk.room(0).await?;
                let (mut page, asked_at) = self.page(asked, number, dates, desk).await?;
                page.total = page.total.filter(|_| !self.subject.filters.can_change());
                first_asked_at.get_or_insert(asked_at);
                let has_more = page.has_more && !page.rows.is_empty();
                rounds.take(page);
                if !has_more {
                    break;
                }
            }
            if let (Belief::Whole, Some(asked_at)) = (rounds.end(), first_asked_at) {
                let rows = rounds.rows(asked_at);
                desk.give(Piece::new(region, rows, asked_at));
                return Ok(());
            }
            if rounds.has_grown() {
                self.rest(region, &mut rest).await;
            }
        }
        Err(inconsistent(region, "reading it again and again brings new rows every time"))
    }
}

impl Reader<'_> {
    /// Lets a region rest that upstream may still commit rows to: read at once, it would have grown again.
    async fn rest(&self, region: Span, rest: &mut Duration) {
        let fills_for = self.commit_lag.saturating_sub(self.clock.now().since(region.to()));
        tokio::time::sleep(fills_for.min(*rest)).await;
        *rest = (*rest * 2).min(LONGEST_REST);
    }
}

/// Cuts a span into pieces of about [`ROWS_A_PIECE`] of the instants seen in it, newest first.
pub(super) fn cut_at(rest: Span, mut seen: Vec<Timestamp>) -> Vec<Span> {
    seen.sort_unstable();
    let mut pieces = Vec::new();
    let mut left = Some(rest);
    for instant in seen.iter().rev().skip(ROWS_A_PIECE - 1).step_by(ROWS_A_PIECE) {
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

/// The top of a region that probably fits a page, and the rest of it.
fn topmost(region: Span, fitting: Option<Duration>) -> (Span, Option<Span>) {
    let at = fitting.map(|width| region.to().minus(width).floor_second()).filter(|at| *at > region.from());
    let parts = at.and_then(|at| Some((region.after(at.previous())?, region.before(at))));
    parts.unwrap_or((region, None))
}

/// How wide a piece would be that holds [`ROWS_A_PIECE`] rows where this one held so many; at most twice as wide.
fn fitting_width(region: Span, rows: usize) -> Duration {
    let factor = ROWS_A_PIECE as f64 / rows.max(1) as f64;
    region.width().mul_f64(factor.clamp(0.5, 2.0)).max(SECOND)
}

/// Where to cut a region whose first page promises more: below about a page of rows if they come newest first, else
/// in the middle of those seen.
fn cut_point(region: Span, instants: &[Timestamp]) -> Timestamp {
    let is_newest_first = instants.is_sorted_by(|newer, older| newer >= older);
    let fortieth = instants.get(ROWS_A_PIECE - 1).filter(|_| is_newest_first).map(|at| at.floor_second());
    let is_inside =
        |at: &Timestamp| *at > region.from() && *at <= region.to() && *at > region.outward().from();
    fortieth.filter(is_inside).unwrap_or_else(|| middle(region, instants))
}

/// A whole second in the middle of a region's rows, after its start and not after its end, so that both halves are
/// narrower.
fn middle(region: Span, instants: &[Timestamp]) -> Timestamp {
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
