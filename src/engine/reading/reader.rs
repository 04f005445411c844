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

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;

use super::cut::cut_at;
use super::learned::{Learned, Total};
use super::piece::{AskedAt, Piece};
use super::walk::{Dates, Extent, Order, Step, Walk};
use crate::domain::{MAX_PAGE_SIZE, NewRow, Page, PageOf, Span, Timestamp};
use crate::engine::{AskError, clock::Clock, opening::Opening};
use crate::source::{Source, SourceError, Subject, Turn};

/// The most pages one walk may have: a million rows. A list that goes on for longer does not end.
pub(super) const MAX_PAGES: u32 = 20_000;

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

/// What came back on behalf of a walk.
enum Landed {
    Page(u32, Page),
    /// All rows of an instant.
    Tie(Timestamp, Vec<NewRow>),
}

/// Who takes what a reader proves.
pub(in crate::engine) trait Desk: Sync {
    /// Returns when there is room for another page beside those that are on their way, or says that none is wanted.
    fn room(&self, on_their_way: usize) -> BoxFuture<'_, Result<(), Ended>>;

    /// Says whether any page is wanted still: asked just before one goes upstream, which may be long after there was
    /// room for it.
    fn wanted(&self) -> Result<(), Ended>;

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
    /// The first page of what is to be read, if it is on its way already.
    pub(in crate::engine) opening: Option<&'a Opening>,
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
        desk.room(0).await?;
        let (first, asked, asked_at) = match self.opened(region, dates, desk).await? {
            Some(opened) => opened,
            None => {
                let (asked, asked_at) = (self.asked(region, dates), self.clock.asked_now(self.source));
                (self.page(asked, 1, desk).await?, asked, asked_at)
            }
        };
        if dates == Dates::Kept && self.learned.total() == Total::Other && first.has_more {
            return self.cut(region, Some((first, asked_at)), desk).await;
        }
        let mut walk = Walk::new(region, asked, dates, self.learned.order(), asked_at);
        let step = walk.take(1, first.clone());
        // Without a total nothing tells of a row that left the list during a walk.
        if matches!(step, Step::Going) && first.total.is_none() {
            return match dates {
                Dates::Kept => self.cut(region, Some((first, asked_at)), desk).await,
                Dates::Ignored => self.rounds(region, asked, desk).await,
            };
        }
        self.number(walk, asked, step, desk).await
    }

    /// The first page of a region, what it was asked as and when, if it was on its way already and is of the region
    /// alone.
    async fn opened(
        &self,
        region: Span,
        dates: Dates,
        desk: &dyn Desk,
    ) -> Result<Option<(Page, Span, AskedAt)>, Ended> {
        let Some(opening) = self.opening.filter(|_| dates == Dates::Kept) else { return Ok(None) };
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        desk.wanted()?;
        let around = region.outward();
        let is_of_it = |page: &Page| {
            let mut instants = page.rows.iter().filter_map(|row| row.created_at);
            opening.asked == around || instants.all(|at| around.contains(at))
        };
        let page = opening.take().await.filter(is_of_it);
        let asked_at = Clock::asked_then(opening.sent_at, self.source);
        Ok(page.map(|page| {
            desk.count(Pages::Read);
            (page, opening.asked, asked_at)
        }))
    }

    /// Reads the pages of a walk after its first, several at once.
    async fn number(&self, mut walk: Walk, asked: Span, first: Step, desk: &dyn Desk) -> Result<(), Ended> {
        let mut step = first;
        let mut flights = FuturesUnordered::new();
        let mut landed = VecDeque::new();
        // The next page to ask for, and the last that there is, once one said so.
        let (mut next, mut end) = (2u32, u32::MAX);
        loop {
            match step {
                Step::Going => {
                    if walk.order() == Order::NewestFirst {
                        self.learned.ordered_page();
                    }
                    if let Some(piece) = walk.proven(Extent::Prefix) {
                        desk.give(piece);
                    }
                }
                Step::Tied(instant) => {
                    flights.push(self.tied(instant, desk));
                    step = walk.go_on();
                    continue;
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
                return Err(endless(asked));
            }
            // What has arrived makes room for other pages, and these are on the wire before it is looked at.
            let first = loop {
                let may_ask = !walk.is_over() && next <= planned.min(end) && flights.len() < self.fan_out;
                let mut room = pin!(desk.room(flights.len()));
                tokio::select! {
                    biased;
                    room = &mut room, if may_ask => {
                        if let Err(ended) = room {
                            break landed.pop_front().unwrap_or(Err(ended));
                        }
                        flights.push(self.numbered(asked, next, desk));
                        next += 1;
                    }
                    Some(another) = flights.next(), if !flights.is_empty() => {
                        if let Ok(Landed::Page(number, page)) = &another
                            && !page.has_more
                        {
                            end = end.min(*number);
                        }
                        landed.push_back(another);
                    }
                    () = std::future::ready(()), if !landed.is_empty() => {
                        if let Some(first) = landed.pop_front() {
                            break first;
                        }
                    }
                }
            };
            step = match first? {
                Landed::Page(number, page) => walk.take(number, page),
                Landed::Tie(instant, rows) => walk.untie(instant, rows),
            };
        }
    }

    fn numbered<'s>(
        &'s self,
        asked: Span,
        number: u32,
        desk: &'s dyn Desk,
    ) -> BoxFuture<'s, Result<Landed, Ended>> {
        Box::pin(async move { Ok(Landed::Page(number, self.page(asked, number, desk).await?)) })
    }

    /// Reads the rows of one instant apart.
    fn tied<'s>(&'s self, instant: Timestamp, desk: &'s dyn Desk) -> BoxFuture<'s, Result<Landed, Ended>> {
        Box::pin(async move {
            let shelf = Shelf { desk, pieces: std::sync::Mutex::default() };
            self.cut(Span::at(instant), None, &shelf).await?;
            let pieces = shelf.pieces.into_inner().unwrap_or_default();
            Ok(Landed::Tie(instant, pieces.into_iter().flat_map(|piece| piece.rows).collect()))
        })
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

    pub(super) async fn page(&self, span: Span, number: u32, desk: &dyn Desk) -> Result<Page, Ended> {
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        desk.wanted()?;
        let page = self.source.page(self.subject, PageOf { span, number }, self.turn).await?;
        desk.count(Pages::Read);
        Ok(page)
    }

    pub(super) fn asked(&self, region: Span, dates: Dates) -> Span {
        let span = region.outward();
        match dates {
            Dates::Kept => span,
            Dates::Ignored => span.split(self.window).first().map_or(span, |newest| newest.outward()),
        }
    }
}

/// The list does not end.
pub(super) fn endless(span: Span) -> Ended {
    inconsistent(span, "the list does not end")
}

/// The list can't be proven whole.
pub(super) fn inconsistent(span: Span, detail: &str) -> Ended {
    Ended::Failed(AskError::Inconsistent { span, detail: detail.to_owned() })
}

/// How many pages a walk is planned to have: what its total says, and one more while there is more.
fn planned_pages(walk: &Walk) -> u32 {
    let by_total = walk.total().map_or(0, |total| total.div_ceil(MAX_PAGE_SIZE as u64));
    u32::try_from(by_total).unwrap_or(MAX_PAGES).min(MAX_PAGES).max(walk.accepted() + 1)
}

/// Keeps the pieces of one part of a repair until those above it are done.
struct Shelf<'a> {
    desk: &'a dyn Desk,
    pieces: std::sync::Mutex<Vec<Piece>>,
}

impl Desk for Shelf<'_> {
    fn room(&self, on_their_way: usize) -> BoxFuture<'_, Result<(), Ended>> {
        self.desk.room(on_their_way)
    }

    fn wanted(&self) -> Result<(), Ended> {
        self.desk.wanted()
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
