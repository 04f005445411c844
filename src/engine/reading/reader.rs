//! Reads a span whole: walks it, and where the proof fails cuts it until every piece is beyond doubt.
//!
//! A span answered by one page that says "no more" needs no proof: one answer is one moment. So whatever happens to
//! the list, a span can be cut at the instants of its rows into pieces of at most one page each. In a list that is
//! newest first the cut is cheaper still: the top of any span is one page, and the next question ends where it
//! ended. An upstream that gives no total, or one that counts something else, is read that way from the start.
//! What can't be cut any further is one second with more rows than a page; it is read round after round, until
//! rounds bring nothing new.
//!
//! Left out on purpose: page sizes under the maximum (more requests for the same proof), and cuts within a second
//! (whether upstream compares microseconds is not known).

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;

use super::learned::{Learned, Total};
use super::piece::{AskedAt, Piece, place};
use super::walk::{Dates, Extent, Order, Step, Walk};
use crate::domain::{MAX_PAGE_SIZE, NewRow, Page, PageOf, RowId, Span, Timestamp};
use crate::engine::{AskError, clock::Clock};
use crate::source::{Source, SourceError, Subject, Turn};

/// The most pages one walk may have: a million rows. A list that goes on for longer does not end.
const MAX_PAGES: u32 = 20_000;

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

/// Why a reading ended early.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Ended {
    /// Nobody waits for it any more, or the gateway stops.
    Unwanted,
    /// Upstream turned out to ignore the dates: everything has to be read in one walk.
    DatesIgnored,
    /// The list turned out not to be newest first, after part of it was given out as if it were.
    Disordered,
    /// It can't be read, or not proven.
    Failed(AskError),
}

impl From<SourceError> for Ended {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.into())
    }
}

/// Who takes what a reader proves.
pub(in crate::engine) trait Desk: Sync {
    /// Returns when there is room for another page, or says that none is wanted.
    fn room(&self) -> BoxFuture<'_, Result<(), Ended>>;

    /// Takes a proven piece. Pieces come newest first and touch each other.
    fn give(&self, piece: Piece);

    /// Told of every page that is planned, and of every one that arrived.
    fn count(&self, _pages: Pages) {}
}

/// Progress of a reading, in pages.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Pages {
    /// The walk is known to have this many.
    Planned(u32),
    /// One arrived.
    Read,
}

/// Reads spans of one scope.
pub(in crate::engine) struct Reader<'a> {
    pub(in crate::engine) source: &'a dyn Source,
    pub(in crate::engine) clock: &'a Clock,
    pub(in crate::engine) subject: &'a Subject,
    pub(in crate::engine) turn: &'a Turn,
    pub(in crate::engine) learned: &'a Learned,
    /// The pages in flight for the answer on whose behalf this reads.
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    /// How many pages one walk asks for at once.
    pub(in crate::engine) fan_out: usize,
    /// The widest span upstream takes, for the dates of a question to an upstream that ignores them.
    pub(in crate::engine) window: Duration,
}

impl Reader<'_> {
    /// Reads all of `region`, and gives what is proven to the desk as it comes.
    ///
    /// # Errors
    /// What was given until then stays proven.
    pub(in crate::engine) async fn read(&self, region: Span, desk: &dyn Desk) -> Result<(), Ended> {
        let dates = self.learned.dates();
        let asked = self.asked(region, dates);
        let asked_at = self.clock.asked_now(self.source);
        desk.room().await?;
        let first = self.page(asked, 1, desk).await?;
        if dates == Dates::Kept && self.learned.total() == Total::Other && first.has_more {
            return self.cut(region, Some((first, asked_at)), desk).await;
        }
        let mut walk = Walk::new(region, asked, dates, self.learned.order(), asked_at);
        let step = walk.take(1, first.clone());
        let has_plan = first.total.is_some() || dates == Dates::Ignored || walk.order() == Order::Other;
        if matches!(step, Step::Going) && !has_plan {
            return self.cut(region, Some((first, asked_at)), desk).await;
        }
        self.number(walk, asked, step, desk).await
    }

    /// Reads the pages of a walk after its first, several at once.
    async fn number(&self, mut walk: Walk, asked: Span, first: Step, desk: &dyn Desk) -> Result<(), Ended> {
        let mut step = first;
        let mut flights = FuturesUnordered::new();
        let mut next = 2u32;
        loop {
            match step {
                Step::Going => {
                    if let Some(piece) = walk.proven(Extent::Prefix) {
                        desk.give(piece);
                    }
                }
                Step::Whole => {
                    self.learned.count(walk.total(), walk.count(), walk.order());
                    walk.proven(Extent::Whole).into_iter().for_each(|piece| desk.give(piece));
                    return Ok(());
                }
                Step::Broken { rest, seen } => {
                    drop(flights);
                    walk.proven(Extent::Prefix).into_iter().for_each(|piece| desk.give(piece));
                    let rest = walk.rest().unwrap_or(rest);
                    return self.repair(rest, seen, desk).await;
                }
                Step::DatesIgnored => {
                    self.learned.dates_ignored();
                    return Err(Ended::DatesIgnored);
                }
                Step::Disordered => {
                    self.learned.disordered();
                    return Err(Ended::Disordered);
                }
            }
            let planned = planned_pages(&walk);
            desk.count(Pages::Planned(planned));
            if walk.accepted() >= MAX_PAGES {
                return Err(self.endless(asked));
            }
            let page = loop {
                let may_ask = next <= planned && flights.len() < self.fan_out;
                let mut room = pin!(desk.room());
                tokio::select! {
                    biased;
                    Some(page) = flights.next(), if !flights.is_empty() => break page,
                    room = &mut room, if may_ask => {
                        room?;
                        flights.push(self.numbered(asked, next, desk));
                        next += 1;
                    }
                }
            };
            let (number, page) = page?;
            step = walk.take(number, page);
        }
    }

    async fn numbered(&self, asked: Span, number: u32, desk: &dyn Desk) -> Result<(u32, Page), Ended> {
        Ok((number, self.page(asked, number, desk).await?))
    }

    /// Reads what a broken walk left: cut where rows were seen, several pieces at once, given out in order.
    async fn repair(&self, rest: Span, seen: Vec<Timestamp>, desk: &dyn Desk) -> Result<(), Ended> {
        self.learned.repaired();
        if self.learned.dates() == Dates::Ignored {
            return self.rounds(rest, self.asked(rest, Dates::Ignored), desk).await;
        }
        let pieces = cut_at(rest, seen);
        let reads = pieces.into_iter().map(|piece| async move {
            let shelf = Shelf { desk, pieces: std::sync::Mutex::default() };
            let end = self.cut(piece, None, &shelf).await;
            (end, shelf.pieces.into_inner().unwrap_or_default())
        });
        let mut done = pin!(futures_util::stream::iter(reads).buffered(self.fan_out));
        while let Some((end, pieces)) = done.next().await {
            pieces.into_iter().for_each(|piece| desk.give(piece));
            end?;
        }
        Ok(())
    }

    /// Reads a region in pieces that are one page each, newest first. `first` is its first page, if it is there.
    fn cut<'s>(
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
                        desk.room().await?;
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
                    Step::Going | Step::Whole | Step::Broken { .. } | Step::Disordered => {}
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
    async fn rounds(&self, region: Span, asked: Span, desk: &dyn Desk) -> Result<(), Ended> {
        let asked_at = self.clock.asked_now(self.source);
        let mut rounds = Rounds::default();
        let most_pages = if asked.width() <= SECOND { MAX_PAGES_A_SECOND } else { MAX_PAGES };
        for _ in 0..MAX_ROUNDS {
            let mut number = 1;
            rounds.begin();
            loop {
                desk.room().await?;
                let page = self.page(asked, number, desk).await?;
                let has_more = page.has_more && !page.rows.is_empty();
                rounds.take(page, region);
                if !has_more {
                    break;
                }
                number += 1;
                if number > most_pages {
                    return Err(self.endless(asked));
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

    async fn page(&self, span: Span, number: u32, desk: &dyn Desk) -> Result<Page, Ended> {
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        let page = self.source.page(self.subject, PageOf { span, number }, self.turn).await?;
        desk.count(Pages::Read);
        Ok(page)
    }

    fn asked(&self, region: Span, dates: Dates) -> Span {
        let span = region.outward();
        match dates {
            Dates::Kept => span,
            Dates::Ignored => span.split(self.window).first().map_or(span, |newest| newest.outward()),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as the reader's verdict")]
    fn endless(&self, span: Span) -> Ended {
        inconsistent(span, "the list does not end")
    }
}

fn inconsistent(span: Span, detail: &str) -> Ended {
    Ended::Failed(AskError::Inconsistent { span, detail: detail.to_owned() })
}

/// How many pages a walk is planned to have: what its total says, and one more while there is more.
fn planned_pages(walk: &Walk) -> u32 {
    let by_total = walk.total().map_or(0, |total| total.div_ceil(MAX_PAGE_SIZE as u64));
    u32::try_from(by_total).unwrap_or(MAX_PAGES).min(MAX_PAGES).max(walk.accepted() + 1)
}

/// Cuts a span into pieces of about [`ROWS_A_PIECE`] of the instants seen in it, newest first.
fn cut_at(rest: Span, mut seen: Vec<Timestamp>) -> Vec<Span> {
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

/// Keeps the pieces of one part of a repair until those above it are done.
struct Shelf<'a> {
    desk: &'a dyn Desk,
    pieces: std::sync::Mutex<Vec<Piece>>,
}

impl Desk for Shelf<'_> {
    fn room(&self) -> BoxFuture<'_, Result<(), Ended>> {
        self.desk.room()
    }

    fn give(&self, piece: Piece) {
        if let Ok(mut pieces) = self.pieces.lock() {
            pieces.push(piece);
        }
    }

    fn count(&self, pages: Pages) {
        self.desk.count(pages);
    }
}

/// Whether rounds over one list have shown all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Open,
    Whole,
}

/// What repeated readings of one list have shown.
#[derive(Default)]
struct Rounds {
    rows: BTreeMap<RowId, crate::domain::Row>,
    seen: std::collections::HashSet<RowId>,
    brought_new: bool,
    quiet: u32,
    worst_share: Option<f64>,
    totals: Option<Option<u64>>,
    totals_agree: bool,
}

impl Rounds {
    fn begin(&mut self) {
        self.seen.clear();
        self.brought_new = false;
        self.totals_agree = true;
        self.totals = None;
    }

    fn take(&mut self, page: Page, region: Span) {
        let totals = *self.totals.get_or_insert(page.total);
        self.totals_agree &= totals == page.total;
        for row in page.rows {
            let is_inside = row.created_at.is_none_or(|at| region.outward().contains(at));
            if is_inside {
                self.seen.insert(row.id.clone());
                self.brought_new |= self.rows.insert(row.id.clone(), row).is_none();
            }
        }
    }

    /// Two quiet rounds are enough when every round shows all that is known, or when upstream's own count agrees;
    /// else as many as make it unlikely (one in a thousand) that a row was missed every time.
    fn end(&mut self) -> Belief {
        let known = self.rows.len().max(1) as f64;
        let share = self.seen.len() as f64 / known;
        let worst = self.worst_share.map_or(share, |worst| worst.min(share));
        if self.brought_new {
            self.quiet = 0;
            // A share of what was known then says little about what is known now.
            self.worst_share = None;
            return Belief::Open;
        }
        self.quiet += 1;
        self.worst_share = Some(worst);
        let count_agrees = self.totals_agree && self.totals == Some(Some(self.rows.len() as u64));
        let missed = known * (1.0 - worst).powi(i32::try_from(self.quiet).unwrap_or(i32::MAX));
        let is_enough = self.quiet >= 2 && (count_agrees || missed < 1e-3);
        if is_enough { Belief::Whole } else { Belief::Open }
    }

    fn rows(self, region: Span, asked_at: AskedAt) -> Vec<NewRow> {
        let page = Page { rows: self.rows.into_values().collect(), has_more: false, total: None };
        place(page, region.to(), asked_at.ours)
    }
}

#[cfg(test)]
mod tests;
