//! Cutting: reading a span in pieces of which each is one page, and so beyond doubt.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::piece::{AskedAt, Piece, place};
use super::reader::{Desk, Ended, MAX_PAGES, Reader, endless, inconsistent};
use super::rounds::{Belief, Rounds};
use super::walk::{Dates, Extent, Order, Step, Walk};
use crate::domain::{Page, Span, Timestamp};

/// How many rows seen earlier a piece is cut to: a page, less what may have come since.
const ROWS_A_PIECE: usize = 40;

/// How many empty pages that promise more are believed to be a passing fault.
const MAX_EMPTY_PAGES: u32 = 3;

/// How often one second that holds more than a page is read.
const MAX_ROUNDS: usize = 32;

/// The most pages that one second is believed to hold: ten thousand executions.
const MAX_PAGES_A_SECOND: u32 = 200;

/// The narrowest span that can be asked for with certainty.
const SECOND: Duration = Duration::from_secs(1);

impl Reader<'_> {
    /// Reads a region in pieces that are one page each, newest first. `first` is its first page, if it is there.
    pub(super) fn cut<'s>(
        &'s self,
        region: Span,
        mut first: Option<(Page, AskedAt)>,
        desk: &'s dyn Desk,
    ) -> BoxFuture<'s, Result<(), Ended>> {
        Box::pin(async move {
            let mut left = VecDeque::from([region]);
            let mut empty_pages = 0;
            while let Some(region) = left.pop_front() {
                let asked = region.outward();
                let (page, asked_at) = match first.take() {
                    Some(first) => first,
                    None => {
                        desk.room(0).await?;
                        let asked_at = self.clock.asked_now(self.source);
                        (self.page(asked, 1, desk).await?, asked_at)
                    }
                };
                if !page.has_more {
                    let rows = place(page, region.to(), asked_at.ours);
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
                let instants: Vec<Timestamp> = page.rows.iter().filter_map(|row| row.created_at).collect();
                let mut walk = Walk::new(region, asked, Dates::Kept, self.learned.order(), asked_at);
                match walk.take(1, page) {
                    Step::DatesIgnored => {
                        self.learned.dates_ignored();
                        return Err(Ended::DatesIgnored);
                    }
                    Step::Going | Step::Whole | Step::Broken { .. } | Step::Tied(_) | Step::Disordered => {}
                }
                if walk.order() == Order::NewestFirst
                    && let Some(piece) = walk.proven(Extent::Prefix)
                {
                    desk.give(piece);
                    if let Some(rest) = walk.rest() {
                        if rest.to().ceil_second() < asked.to() {
                            left.push_front(rest);
                        } else {
                            self.split(rest, &instants, &mut left, desk).await?;
                        }
                    }
                } else {
                    self.split(region, &instants, &mut left, desk).await?;
                }
            }
            Ok(())
        })
    }

    /// Halves a region whose first page says nothing about a part of it; reads it in rounds if it can't be halved.
    async fn split(
        &self,
        region: Span,
        instants: &[Timestamp],
        left: &mut VecDeque<Span>,
        desk: &dyn Desk,
    ) -> Result<(), Ended> {
        let asked = region.outward();
        if asked.width() <= SECOND {
            return self.rounds(region, asked, desk).await;
        }
        let middle = middle(region, instants);
        let (upper, lower) = (region.after(middle.previous()), region.before(middle));
        // The upper part comes next.
        lower.into_iter().chain(upper).for_each(|part| left.push_front(part));
        Ok(())
    }

    /// Reads all pages of a list again and again, until rounds bring nothing new.
    pub(super) async fn rounds(&self, region: Span, asked: Span, desk: &dyn Desk) -> Result<(), Ended> {
        let asked_at = self.clock.asked_now(self.source);
        let mut rounds = Rounds::default();
        let most_pages = if asked.width() <= SECOND { MAX_PAGES_A_SECOND } else { MAX_PAGES };
        for _ in 0..MAX_ROUNDS {
            let mut number = 1;
            rounds.begin();
            loop {
                desk.room(0).await?;
                let page = self.page(asked, number, desk).await?;
                let has_more = page.has_more && !page.rows.is_empty();
                rounds.take(page);
                if !has_more {
                    break;
                }
                number += 1;
                if number > most_pages {
                    return Err(endless(asked));
                }
            }
            if rounds.end() == Belief::Whole {
                let rows = rounds.rows(region, asked_at);
                desk.give(Piece::new(region, rows, asked_at));
                return Ok(());
            }
        }
        Err(inconsistent(region, "reading it again and again brings new rows every time"))
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
