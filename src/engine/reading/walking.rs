//! Walks over a span's pages, and what is done about a proof that fails.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::reader::{MAX_PAGES, REPEATS, Reader, endless, inconsistent};
use super::sink::{Ended, Pages, PagesAsked, Sink};
use crate::domain::{NewRow, Page, PageOf, RowId, Span, Timestamp};
use crate::engine::coverage::Piece;
use crate::engine::proof::{Beliefs, DateSupport, Extent, Order, Walk, WalkStep, cut_at};
use crate::source::SentAt;

/// How often a list of everything is walked before it is read in rounds.
const MAX_WALKS: usize = 4;

/// How a walk went.
enum Walked {
    /// All of its region was given.
    Whole,
    /// The proof failed. This is left of the region, and at these instants rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
    /// A page had nothing but rows of earlier ones. This is left of the region.
    Repeated { rest: Span },
    /// The list ended before its total was reached.
    Short(Box<Walk>),
}

/// What a second page told of a first one that seemed to be cut off.
enum Second {
    /// The first page stands.
    Fits,
    /// Pages are smaller than was asked for; the first is to be asked for with that size.
    Smaller,
    /// There is no second page, although there should be.
    Missing,
}

/// How often the size of pages is learned before a span is read otherwise.
const MAX_SIZES: usize = 3;

/// What came back on behalf of a walk.
enum Landed {
    Page(u32, Page),
    /// All rows of an instant.
    Tie(Timestamp, Vec<NewRow>),
}

impl Reader<'_> {
    /// Reads all of `region`, and gives what is proven to the sink as it comes.
    ///
    /// # Errors
    /// What was given until then stays proven.
    pub(in crate::engine) async fn read(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        match self.learned.dates() {
            DateSupport::Kept => self.dated(region, sink).await,
            DateSupport::Ignored => self.undated(region, sink).await,
        }
    }

    /// Reads a region of a list that keeps to the dates.
    async fn dated(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        sink.room(PagesAsked::default()).await?;
        let (mut first, mut asked, mut asked_at) = match self.opened(region, sink).await? {
            Some((page, asked, asked_at)) => (self.within_dates(page, asked)?, asked, asked_at),
            None => {
                let asked = region.outward();
                let (page, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
                (page, asked, asked_at)
            }
        };
        for _ in 0..MAX_SIZES {
            match self.second(&first, asked, sink).await? {
                Second::Fits => break,
                Second::Smaller => {
                    asked = region.outward();
                    (first, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
                }
                Second::Missing => return self.cut(region, Some((first, asked_at)), sink).await,
            }
        }
        let beliefs = self.learned.beliefs();
        let is_all = !beliefs.says_more(&first) && !beliefs.lacks(first.total, first.rows.len() as u64);
        if !is_all && (first.rows.is_empty() || !self.is_walkable(&first, &beliefs)) {
            return self.cut(region, Some((first, asked_at)), sink).await;
        }
        let order = self.learned.order();
        let walk = Walk::new(region, DateSupport::Kept, order, self.learned.ending(), asked_at, beliefs);
        match self.number(walk, asked, DateSupport::Kept, first, sink).await? {
            Walked::Whole => Ok(()),
            Walked::Broken { rest, seen } => self.repair(rest, seen, sink).await.map(|_| ()),
            Walked::Repeated { rest } => self.cut(rest, None, sink).await,
            Walked::Short(walk) => self.short(&walk, sink).await,
        }
    }

    /// Looks for a second page if the first has fewer rows than were asked for, and `has_more` or `total` says that there
    /// are more: pages may be smaller than they should be.
    async fn second(&self, first: &Page, asked: Span, sink: &dyn Sink) -> Result<Second, Ended> {
        let beliefs = self.learned.beliefs();
        let rows = first.rows.len();
        let promises = beliefs.has_more && first.has_more;
        let is_cut_off = promises || beliefs.lacks(first.total, rows as u64);
        if rows == 0 || rows >= beliefs.size() as usize || !is_cut_off {
            return Ok(Second::Fits);
        }
        self.follow_up(asked, "its pages are cut off")?;
        let of = PageOf { number: 2, ..self.first(asked) };
        let (second, _) = self.page(of, DateSupport::Kept, sink).await?;
        let seen: HashSet<&RowId> = first.rows.iter().map(|row| &row.id).collect();
        if second.rows.iter().any(|row| !seen.contains(&row.id)) {
            if !first.has_more {
                self.learned.disbelieve_has_more();
            }
            self.is_smaller(rows, asked, sink).await?;
            return Ok(Second::Smaller);
        }
        match (second.rows.is_empty(), promises) {
            (true, true) => {
                self.learned.disbelieve_has_more();
                let is_missing = beliefs.lacks(first.total, rows as u64);
                Ok(if is_missing { Second::Missing } else { Second::Fits })
            }
            (false, true) => Err(inconsistent(asked, REPEATS)),
            (_, false) => Ok(Second::Missing),
        }
    }

    /// Deals with a walk that ended before its total was reached: reads what it did not give out in smaller spans, and if
    /// that does not explain the difference, looks at what it did give out.
    async fn short(&self, walk: &Walk, sink: &dyn Sink) -> Result<(), Ended> {
        // A waiter that has all pieces leaves, so the last ones are given when all is clear.
        let left = Buffer { sink, pieces: std::sync::Mutex::default() };
        let mut given = Some(walk.region());
        if let Some(rest) = walk.rest() {
            let found = self.repair(rest, walk.seen(), &left).await?.saturating_sub(walk.held());
            if found > 0 {
                self.learned.disbelieve_has_more();
            }
            given = walk.region().after(rest.to()).filter(|_| (found as u64) < walk.missing());
        }
        if let Some(given) = given.filter(|_| self.learned.beliefs().total) {
            self.look_again(walk, given, sink).await?;
        }
        left.into_pieces().into_iter().for_each(|piece| sink.give(piece));
        Ok(())
    }

    /// Looks for rows that a walk left out of a span that it gave.
    ///
    /// # Errors
    /// If there are any.
    async fn look_again(&self, walk: &Walk, given: Span, sink: &dyn Sink) -> Result<(), Ended> {
        let asked = given.outward();
        let (page, asked_at) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
        if !self.learned.beliefs().lacks(page.total, walk.seen_within(asked) as u64) {
            return Ok(());
        }
        let buffer = Buffer { sink, pieces: std::sync::Mutex::default() };
        self.cut(given, Some((page, asked_at)), &buffer).await?;
        let rows: usize = buffer.into_pieces().iter().map(|piece| piece.rows.len()).sum();
        if rows > walk.seen_within(given) {
            self.learned.disbelieve_numbers();
            return Err(Ended::Disordered);
        }
        Ok(())
    }

    /// Whether a list of several pages can be walked by its totals, and parts of it be asked for alone otherwise.
    fn is_walkable(&self, first: &Page, beliefs: &Beliefs) -> bool {
        self.has_telling_total(first) && beliefs.total && beliefs.numbers
    }

    /// Whether totals tell when the list moves.
    ///
    /// Without one nothing tells of a row that left. Under a filter on what changes one row may leave while another
    /// enters further down: no total tells that, and no row comes twice.
    fn has_telling_total(&self, first: &Page) -> bool {
        first.total.is_some() && !self.subject.filters.can_change()
    }

    /// Reads a region out of a list of everything: walks it, again where the proof fails, since no part of it can be
    /// asked for alone; without totals, and in the end, in rounds.
    async fn undated(&self, region: Span, sink: &dyn Sink) -> Result<(), Ended> {
        let mut left = region;
        for _ in 0..MAX_WALKS {
            let asked = left.outward();
            sink.room(PagesAsked::default()).await?;
            let (first, asked_at) = self.page(self.first(asked), DateSupport::Ignored, sink).await?;
            if first.has_more && !self.has_telling_total(&first) {
                break;
            }
            let (order, ending) = (self.learned.order(), self.learned.ending());
            let beliefs = self.learned.beliefs();
            let walk = Walk::new(left, DateSupport::Ignored, order, ending, asked_at, beliefs);
            match self.number(walk, asked, DateSupport::Ignored, first, sink).await? {
                Walked::Whole => return Ok(()),
                Walked::Broken { rest, .. } | Walked::Repeated { rest } => left = rest,
                Walked::Short(walk) => match walk.rest() {
                    Some(rest) => left = rest,
                    None => return Ok(()),
                },
            }
            self.learned.repaired();
        }
        self.rounds(left, left.outward(), DateSupport::Ignored, sink).await
    }
}

impl Reader<'_> {
    /// Reads the pages of a walk after its first, several at once.
    async fn number(
        &self,
        mut walk: Walk,
        asked: Span,
        dates: DateSupport,
        first: Page,
        sink: &dyn Sink,
    ) -> Result<Walked, Ended> {
        let size = walk.beliefs().size();
        let is_short = |page: &Page| page.rows.len() < size as usize;
        let of = |number| PageOf { span: asked, number, size };
        let mut step = walk.take(1, first);
        let mut flights = FuturesUnordered::new();
        let mut landed = VecDeque::new();
        // The next page to ask for, and the last that there is, once one said so.
        let (mut next, mut end) = (2u32, u32::MAX);
        loop {
            self.learned.learn_from(&walk);
            match step {
                WalkStep::Going => {
                    if walk.order() == Order::NewestFirst {
                        self.learned.ordered_page();
                    }
                    if let Some(piece) = walk.proven(Extent::Prefix) {
                        sink.trusts_order();
                        sink.give(piece);
                    }
                }
                WalkStep::Tied(instant) => {
                    flights.push(self.tied(instant, sink));
                    step = walk.go_on();
                    continue;
                }
                WalkStep::Again(number) => {
                    flights.push(self.numbered(of(number), dates, sink));
                    step = walk.go_on();
                    continue;
                }
                // Where no part can be asked for alone, it is walked once more; the same again is what the total is.
                WalkStep::Whole
                    if walk.missing() > 0 && (dates == DateSupport::Kept || !self.learned.fell_short()) =>
                {
                    return Ok(Walked::Short(Box::new(walk)));
                }
                WalkStep::Whole => {
                    if walk.missing() > 0 {
                        self.learned.disbelieve_total();
                    }
                    self.learned.walked(&walk);
                    walk.proven(Extent::Whole).into_iter().for_each(|piece| sink.give(piece));
                    return Ok(Walked::Whole);
                }
                WalkStep::Broken { rest, seen } => {
                    if let Some(piece) = walk.proven(Extent::Prefix) {
                        sink.trusts_order();
                        sink.give(piece);
                    }
                    let rest = walk.rest().unwrap_or(rest);
                    return Ok(match walk.has_repeated() {
                        true => Walked::Repeated { rest },
                        false => Walked::Broken { rest, seen },
                    });
                }
                WalkStep::Disordered => {
                    self.learned.disordered();
                    return Err(Ended::Disordered);
                }
            }
            let planned = walk.planned().min(MAX_PAGES);
            // The pages before were smaller than it seemed.
            end = end.max(walk.accepted() + 1);
            sink.count(Pages::Planned(planned));
            if walk.accepted() >= MAX_PAGES {
                return Err(endless(asked));
            }
            // What has arrived makes room for other pages, and these are on the wire before it is looked at.
            let first = loop {
                // Where the dates are ignored, any page may tell that the rest lies below the region.
                let is_clear = dates == DateSupport::Kept || landed.is_empty();
                let may_ask =
                    !walk.is_over() && is_clear && next <= planned.min(end) && flights.len() < self.fan_out;
                let open = (next - 1).saturating_sub(walk.accepted()) as usize;
                let asked_for = PagesAsked { sent: flights.len(), open };
                let mut room = pin!(sink.room(asked_for));
                tokio::select! {
                    biased;
                    room = &mut room, if may_ask => {
                        if let Err(ended) = room {
                            break landed.pop_front().unwrap_or(Err(ended));
                        }
                        flights.push(self.numbered(of(next), dates, sink));
                        next += 1;
                    }
                    Some(another) = flights.next(), if !flights.is_empty() => {
                        // The page that was the last may be asked for once more, and not be it any longer.
                        match &another {
                            Ok(Landed::Page(number, page)) if walk.may_be_last(*number, page) => {
                                end = end.min(*number);
                            }
                            // One more tells whether its total is right.
                            Ok(Landed::Page(number, page)) if !walk.beliefs().says_more(page) && is_short(page) => {
                                end = end.min(*number + 1);
                            }
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

    fn numbered<'s>(
        &'s self,
        of: PageOf,
        dates: DateSupport,
        sink: &'s dyn Sink,
    ) -> BoxFuture<'s, Result<Landed, Ended>> {
        Box::pin(async move { Ok(Landed::Page(of.number, self.page(of, dates, sink).await?.0)) })
    }

    /// Reads the rows of one instant apart.
    fn tied<'s>(&'s self, instant: Timestamp, sink: &'s dyn Sink) -> BoxFuture<'s, Result<Landed, Ended>> {
        Box::pin(async move {
            let buffer = Buffer { sink, pieces: std::sync::Mutex::default() };
            self.cut(Span::at(instant), None, &buffer).await?;
            let pieces = buffer.into_pieces();
            Ok(Landed::Tie(instant, pieces.into_iter().flat_map(|piece| piece.rows).collect()))
        })
    }

    /// Reads what a broken walk left: cut where rows were seen, several pieces at once, given out in order. Returns how many
    /// rows there were.
    async fn repair(&self, rest: Span, seen: Vec<Timestamp>, sink: &dyn Sink) -> Result<usize, Ended> {
        self.learned.repaired();
        let pieces = cut_at(rest, seen, self.learned.beliefs().rows_a_piece());
        let reads = pieces.into_iter().map(|piece| async move {
            let buffer = Buffer { sink, pieces: std::sync::Mutex::default() };
            let end = self.cut(piece, None, &buffer).await;
            (end, buffer.into_pieces())
        });
        let mut done = pin!(futures_util::stream::iter(reads).buffered(self.fan_out));
        let mut rows = 0;
        while let Some((end, pieces)) = done.next().await {
            rows += pieces.iter().map(|piece| piece.rows.len()).sum::<usize>();
            pieces.into_iter().for_each(|piece| sink.give(piece));
            end?;
        }
        Ok(rows)
    }
}

/// Keeps the pieces of one part of a repair until those above it are done.
struct Buffer<'a> {
    sink: &'a dyn Sink,
    pieces: std::sync::Mutex<Vec<Piece>>,
}

impl Buffer<'_> {
    fn into_pieces(self) -> Vec<Piece> {
        self.pieces.into_inner().unwrap_or_default()
    }
}

impl Sink for Buffer<'_> {
    fn room(&self, pages: PagesAsked) -> BoxFuture<'_, Result<(), Ended>> {
        self.sink.room(pages)
    }

    fn wanted(&self) -> Result<(), Ended> {
        self.sink.wanted()
    }

    fn give(&self, piece: Piece) {
        if let Ok(mut pieces) = self.pieces.lock() {
            pieces.push(piece);
        }
    }

    fn trusts_order(&self) {
        self.sink.trusts_order();
    }

    fn asks(&self, sent: &SentAt) {
        self.sink.asks(sent);
    }

    fn count(&self, pages: Pages) {
        self.sink.count(pages);
    }
}
