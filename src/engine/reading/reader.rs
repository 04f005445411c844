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
use tokio::time::Instant;

use super::cut::cut_at;
use super::learned::{Learned, Total};
use super::piece::{AskedAt, Piece, has_strays};
use super::walk::{Dates, Extent, Order, Step, Walk};
use crate::domain::{NewRow, Page, PageOf, Span, Timestamp};
use crate::engine::{AskError, clock::Clock, opening::Opening};
use crate::source::{Departure, Source, SourceError, Subject, Turn};

/// The most pages one walk may have: a million rows. A list that goes on for longer does not end.
pub(super) const MAX_PAGES: u32 = 20_000;

/// Why a reading ended early.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Ended {
    /// Nobody waits for it any more, or the gateway stops.
    Unwanted,
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

/// How often a list of everything is walked before it is read in rounds.
const MAX_WALKS: usize = 4;

/// How a walk went.
enum Walked {
    /// All of its region was given.
    Whole,
    /// The proof failed. This is left of the region, and at these instants rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
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

    /// Told of every page that is about to be asked for, and waits for its turn.
    fn asks(&self, departure: &Departure);

    /// Told of every page that is planned, and of every one that arrived.
    fn count(&self, _pages: Pages) {}
}

/// Progress of a reading, in pages.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Pages {
    /// The walk is known to have this many.
    Planned(u32),
    /// One arrived, whose request was sent then.
    Read { sent_at: Instant },
}

/// Reads spans of one scope.
pub(in crate::engine) struct Reader<'a> {
    pub(in crate::engine) source: &'a dyn Source,
    pub(in crate::engine) clock: &'a Clock,
    pub(in crate::engine) subject: &'a Subject,
    pub(in crate::engine) turn: &'a Turn,
    pub(in crate::engine) learned: &'a Learned,
    /// How late upstream may show a row.
    pub(in crate::engine) commit_lag: Duration,
    /// The first page of what is to be read, if it is on its way already.
    pub(in crate::engine) opening: Option<&'a Opening>,
    /// The pages in flight for the answer on whose behalf this reads.
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    /// How many pages one walk asks for at once.
    pub(in crate::engine) fan_out: usize,
}

impl Reader<'_> {
    /// Reads all of `region`, and gives what is proven to the desk as it comes.
    ///
    /// # Errors
    /// What was given until then stays proven.
    pub(in crate::engine) async fn read(&self, region: Span, desk: &dyn Desk) -> Result<(), Ended> {
        match self.learned.dates() {
            Dates::Kept => self.dated(region, desk).await,
            Dates::Ignored => self.undated(region, desk).await,
        }
    }

    /// Reads a region of a list that keeps to the dates.
    async fn dated(&self, region: Span, desk: &dyn Desk) -> Result<(), Ended> {
        desk.room(0).await?;
        let (first, asked, asked_at) = match self.opened(region, desk).await? {
            Some((page, asked, asked_at)) => (self.within_dates(page, asked)?, asked, asked_at),
            None => {
                let asked = region.outward();
                let (page, asked_at) = self.page(asked, 1, Dates::Kept, desk).await?;
                (page, asked, asked_at)
            }
        };
        if first.has_more && !self.is_walkable(&first) {
            return self.cut(region, Some((first, asked_at)), desk).await;
        }
        let order = self.learned.order();
        let walk = Walk::new(region, Dates::Kept, order, self.learned.ending(), asked_at);
        match self.number(walk, asked, Dates::Kept, first, desk).await? {
            Walked::Whole => Ok(()),
            Walked::Broken { rest, seen } => self.repair(rest, seen, desk).await,
        }
    }

    /// Whether a list of several pages can be walked by its totals, and parts of it be asked for alone otherwise.
    fn is_walkable(&self, first: &Page) -> bool {
        self.has_telling_total(first) && self.learned.total() == Total::Plausible
    }

    /// Whether totals tell when the list moves.
    ///
    /// Without one nothing tells of a row that left. Under a filter on what changes one row may leave while another
    /// enters further down: no total tells that, and no row comes twice.
    fn has_telling_total(&self, first: &Page) -> bool {
        first.total.is_some() && !self.subject.filters.can_change()
    }

    /// Reads a region out of a list of everything: walks it, anew where the proof fails, since no part of it can be
    /// asked for alone; without totals, and in the end, in rounds.
    async fn undated(&self, region: Span, desk: &dyn Desk) -> Result<(), Ended> {
        let mut left = region;
        for _ in 0..MAX_WALKS {
            let asked = left.outward();
            desk.room(0).await?;
            let (first, asked_at) = self.page(asked, 1, Dates::Ignored, desk).await?;
            if first.has_more && !self.has_telling_total(&first) {
                break;
            }
            let (order, ending) = (self.learned.order(), self.learned.ending());
            let walk = Walk::new(left, Dates::Ignored, order, ending, asked_at);
            match self.number(walk, asked, Dates::Ignored, first, desk).await? {
                Walked::Whole => return Ok(()),
                Walked::Broken { rest, .. } => left = rest,
            }
            self.learned.repaired();
        }
        self.rounds(left, left.outward(), Dates::Ignored, desk).await
    }

    /// The first page of a region, what it was asked as and when, if it was on its way already and is of the region
    /// alone.
    async fn opened(&self, region: Span, desk: &dyn Desk) -> Result<Option<(Page, Span, AskedAt)>, Ended> {
        let Some(opening) = self.opening else { return Ok(None) };
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        desk.wanted()?;
        let around = region.outward();
        let is_of_it = |page: &Page| {
            let mut instants = page.rows.iter().filter_map(|row| row.created_at);
            opening.asked == around || instants.all(|at| around.contains(at))
        };
        desk.asks(&opening.departure);
        let page = opening.take().await.filter(is_of_it);
        let went_at = opening.departure.went_at().unwrap_or(opening.sent_at);
        let asked_at = self.clock.asked_at(went_at, self.source);
        Ok(page.map(|page| {
            desk.count(Pages::Read { sent_at: went_at });
            (page, opening.asked, asked_at)
        }))
    }

    /// Reads the pages of a walk after its first, several at once.
    async fn number(
        &self,
        mut walk: Walk,
        asked: Span,
        dates: Dates,
        first: Page,
        desk: &dyn Desk,
    ) -> Result<Walked, Ended> {
        let mut step = walk.take(1, first);
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
                Step::Again(number) => {
                    flights.push(self.numbered(asked, number, dates, desk));
                    step = walk.go_on();
                    continue;
                }
                Step::Whole if self.is_short_of_a_trusted_total(&walk) => {
                    self.learned.walked(&walk);
                    let Some(rest) = walk.rest() else { return Ok(Walked::Whole) };
                    return Ok(Walked::Broken { rest, seen: walk.seen() });
                }
                Step::Whole => {
                    self.learned.walked(&walk);
                    walk.proven(Extent::Whole).into_iter().for_each(|piece| desk.give(piece));
                    return Ok(Walked::Whole);
                }
                Step::Broken { rest, seen } => {
                    walk.proven(Extent::Prefix).into_iter().for_each(|piece| desk.give(piece));
                    return Ok(Walked::Broken { rest: walk.rest().unwrap_or(rest), seen });
                }
                Step::Disordered => {
                    self.learned.disordered();
                    return Err(Ended::Disordered);
                }
            }
            let planned = walk.planned().min(MAX_PAGES);
            desk.count(Pages::Planned(planned));
            if walk.accepted() >= MAX_PAGES {
                return Err(endless(asked));
            }
            // What has arrived makes room for other pages, and these are on the wire before it is looked at.
            let first = loop {
                // Where the dates are ignored, any page may tell that the rest lies below the region.
                let is_clear = dates == Dates::Kept || landed.is_empty();
                let may_ask =
                    !walk.is_over() && is_clear && next <= planned.min(end) && flights.len() < self.fan_out;
                let mut room = pin!(desk.room(flights.len()));
                tokio::select! {
                    biased;
                    room = &mut room, if may_ask => {
                        if let Err(ended) = room {
                            break landed.pop_front().unwrap_or(Err(ended));
                        }
                        flights.push(self.numbered(asked, next, dates, desk));
                        next += 1;
                    }
                    Some(another) = flights.next(), if !flights.is_empty() => {
                        // The page that was the last may be asked for once more, and not be it any longer.
                        match &another {
                            Ok(Landed::Page(number, page)) if !page.has_more => end = end.min(*number),
                            Ok(Landed::Page(number, _)) if *number >= end => end = u32::MAX,
                            Ok(_) | Err(_) => {}
                        }
                        landed.push_back(another);
                    }
                    () = std::future::ready(()), if !landed.is_empty() => {
                        if let Some(first) = landed.pop_front() {
                            break first;
                        }
                    }
                    else => break Err(inconsistent(asked, "the list ends in one way and then in another")),
                }
            };
            step = match first? {
                Landed::Page(number, page) => walk.take(number, page),
                Landed::Tie(instant, rows) => walk.untie(instant, rows),
            };
        }
    }

    /// Whether a walk brought fewer rows than its total promised, and nothing tells yet that the total counts something
    /// else: a page that came empty by mistake looks like this too. What is left is then read once more, in
    /// pieces that are beyond doubt; if they bring no more rows, the total is one of the other kind.
    fn is_short_of_a_trusted_total(&self, walk: &Walk) -> bool {
        let (Some(total), Some(count)) = (walk.total(), walk.count()) else { return false };
        // A single page with rows that says "no more" is one moment's answer.
        let is_doubtful = count == 0 || walk.accepted() > 1;
        is_doubtful && count < total && !self.learned.is_used_to_short(walk.order())
    }

    fn numbered<'s>(
        &'s self,
        asked: Span,
        number: u32,
        dates: Dates,
        desk: &'s dyn Desk,
    ) -> BoxFuture<'s, Result<Landed, Ended>> {
        Box::pin(async move { Ok(Landed::Page(number, self.page(asked, number, dates, desk).await?.0)) })
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

    /// Reads a page, and says when it was asked for: when its request went, not when it began to wait for its turn.
    ///
    /// # Errors
    /// Also if it has rows of another time.
    pub(super) async fn page(
        &self,
        span: Span,
        number: u32,
        dates: Dates,
        desk: &dyn Desk,
    ) -> Result<(Page, AskedAt), Ended> {
        let (page, asked_at) = self.any_page(span, number, desk).await?;
        match dates {
            Dates::Kept => Ok((self.within_dates(page, span)?, asked_at)),
            Dates::Ignored => Ok((page, asked_at)),
        }
    }

    /// The page, unless it has rows of another time than was asked for.
    ///
    /// Rows up to a second beyond come from a coarser comparison; they belong to the neighboring span.
    fn within_dates(&self, page: Page, asked: Span) -> Result<Page, Ended> {
        if has_strays(&page, asked) {
            return Err(inconsistent(asked, STRAYS));
        }
        Ok(page)
    }

    async fn any_page(&self, span: Span, number: u32, desk: &dyn Desk) -> Result<(Page, AskedAt), Ended> {
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        desk.wanted()?;
        let turn = Turn { departure: Departure::default(), ..self.turn.clone() };
        desk.asks(&turn.departure);
        let began = Instant::now();
        let page = self.source.page(self.subject, PageOf { span, number }, &turn).await?;
        let went_at = turn.departure.went_at().unwrap_or(began);
        desk.count(Pages::Read { sent_at: went_at });
        Ok((page, self.clock.asked_at(went_at, self.source)))
    }
}

/// What is wrong with a page that has rows of another time.
const STRAYS: &str = "upstream answers with executions created outside the dates that were asked for; if it takes no dates, \
    serve with `--window none`";

/// The list does not end.
pub(super) fn endless(span: Span) -> Ended {
    inconsistent(span, "the list does not end")
}

/// The list can't be proven whole.
pub(super) fn inconsistent(span: Span, detail: &str) -> Ended {
    Ended::Failed(AskError::Inconsistent { span, detail: detail.to_owned() })
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

    fn asks(&self, departure: &Departure) {
        self.desk.asks(departure);
    }

    fn count(&self, pages: Pages) {
        self.desk.count(pages);
    }
}
