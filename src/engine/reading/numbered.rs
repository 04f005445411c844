//! Asks for the numbered pages of a walk, several at once.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::pin;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::buffer::Buffer;
use super::reader::{MAX_PAGES, Reader, endless, inconsistent};
use super::sink::{Ended, Pages, PagesAsked, Sink};
use crate::domain::{NewRow, Page, PageOf, Span, Timestamp};
use crate::engine::proof::{DateSupport, Extent, Order, Walk, WalkStep};

/// How a walk went.
pub(super) enum Walked {
    /// All of its region was given.
    Whole,
    /// The proof failed. This is left of the region, and at these instants rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
    /// A page had nothing but rows of earlier ones. This is left of the region.
    Repeated { rest: Span },
    /// The list ended before its total was reached.
    Short,
}

/// What came back on behalf of a walk.
enum Landed {
    Page(u32, Page),
    /// All rows of an instant.
    Tie(Timestamp, Vec<NewRow>),
}

/// A walk and its pages that were asked for.
struct NumberedPages<'s, 'w> {
    reader: &'s Reader<'s>,
    walk: &'w mut Walk,
    asked: Span,
    sink: &'s dyn Sink,
    flights: FuturesUnordered<BoxFuture<'s, Result<Landed, Ended>>>,
    /// What arrived and was not looked at yet.
    landed: VecDeque<Result<Landed, Ended>>,
    /// The page to ask for next.
    next: u32,
    /// The last page that there is, once one said so.
    last: Option<u32>,
}

impl Reader<'_> {
    /// Reads the pages of a walk after its first, several at once.
    pub(super) async fn number(
        &self,
        walk: &mut Walk,
        asked: Span,
        first: Page,
        sink: &dyn Sink,
    ) -> Result<Walked, Ended> {
        let mut step = walk.take(1, first);
        let (flights, landed) = (FuturesUnordered::new(), VecDeque::new());
        let mut pages =
            NumberedPages { reader: self, walk, asked, sink, flights, landed, next: 2, last: None };
        loop {
            if let Some(walked) = pages.perform(step)? {
                return Ok(walked);
            }
            step = match pages.land().await? {
                Landed::Page(number, page) => pages.walk.take(number, page),
                Landed::Tie(instant, rows) => pages.walk.untie(instant, rows),
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
            let buffer = Buffer::of(sink);
            self.cut(Span::at(instant), None, &buffer).await?;
            let pieces = buffer.into_pieces();
            Ok(Landed::Tie(instant, pieces.into_iter().flat_map(|piece| piece.rows).collect()))
        })
    }
}

impl NumberedPages<'_, '_> {
    /// Does what the walk says, until it needs something that has not arrived; returns how the walk went once it is over.
    fn perform(&mut self, mut step: WalkStep) -> Result<Option<Walked>, Ended> {
        let (reader, sink) = (self.reader, self.sink);
        loop {
            reader.learned.learn_from(self.walk);
            match step {
                WalkStep::Going => {
                    if self.walk.order() == Order::NewestFirst {
                        reader.learned.ordered_page();
                    }
                    self.give_prefix();
                    return Ok(None);
                }
                WalkStep::Tied(instant) => self.flights.push(reader.tied(instant, sink)),
                WalkStep::Again(number) => self.ask(number),
                WalkStep::Whole => return Ok(Some(self.whole())),
                WalkStep::Broken { rest, seen } => {
                    self.give_prefix();
                    let rest = self.walk.rest().unwrap_or(rest);
                    return Ok(Some(match self.walk.has_repeated() {
                        true => Walked::Repeated { rest },
                        false => Walked::Broken { rest, seen },
                    }));
                }
                WalkStep::Disordered => {
                    reader.learned.disordered();
                    return Err(Ended::Disordered);
                }
            }
            step = self.walk.go_on();
        }
    }

    fn ask(&self, number: u32) {
        let of = PageOf { span: self.asked, number, size: self.walk.beliefs().size() };
        self.flights.push(self.reader.numbered(of, self.walk.dates(), self.sink));
    }

    fn give_prefix(&mut self) {
        if let Some(piece) = self.walk.proven(Extent::Prefix) {
            self.sink.trusts_order();
            self.sink.give(piece);
        }
    }

    fn whole(&mut self) -> Walked {
        let (learned, is_short) = (self.reader.learned, self.walk.missing() > 0);
        // Where no part can be asked for alone, it is walked once more; the same again is what the total is.
        if is_short && (self.walk.dates() == DateSupport::Kept || !learned.fell_short()) {
            return Walked::Short;
        }
        if is_short {
            learned.disbelieve_total();
        }
        learned.walked(self.walk);
        self.walk.proven(Extent::Whole).into_iter().for_each(|piece| self.sink.give(piece));
        Walked::Whole
    }

    /// Waits for a page or a tie, and asks for further pages meanwhile.
    ///
    /// What has arrived makes room for other pages, and these are on the wire before it is looked at.
    async fn land(&mut self) -> Result<Landed, Ended> {
        let sink = self.sink;
        let planned = self.walk.planned().min(MAX_PAGES);
        // The pages before were smaller than it seemed.
        self.last = self.last.map(|last| last.max(self.walk.accepted() + 1));
        sink.count(Pages::Planned(planned));
        if self.walk.accepted() >= MAX_PAGES {
            return Err(endless(self.asked));
        }
        loop {
            // Where the dates are ignored, any page may tell that the rest lies below the region.
            let is_clear = self.walk.dates() == DateSupport::Kept || self.landed.is_empty();
            let may_ask = !self.walk.is_over()
                && is_clear
                && self.next <= self.last.map_or(planned, |last| last.min(planned))
                && self.flights.len() < self.reader.fan_out;
            let open = (self.next - 1).saturating_sub(self.walk.accepted()) as usize;
            let asked_for = PagesAsked { sent: self.flights.len(), open };
            let mut room = pin!(sink.room(asked_for));
            tokio::select! {
                biased;
                room = &mut room, if may_ask => {
                    if let Err(ended) = room {
                        return self.landed.pop_front().unwrap_or(Err(ended));
                    }
                    self.ask(self.next);
                    self.next += 1;
                }
                Some(another) = self.flights.next(), if !self.flights.is_empty() => {
                    if let Ok(Landed::Page(number, page)) = &another {
                        self.note_last(*number, page);
                    }
                    self.landed.push_back(another);
                }
                () = ready(()), if !self.landed.is_empty() => {
                    if let Some(first) = self.landed.pop_front() {
                        return first;
                    }
                }
                else => {
                    return Err(inconsistent(self.asked, "the list ends in one way and then in another"));
                }
            }
        }
    }

    /// Notes what a page tells of which page is the last.
    fn note_last(&mut self, number: u32, page: &Page) {
        let beliefs = self.walk.beliefs();
        let is_short = page.rows.len() < beliefs.size() as usize;
        let at_most = |last: u32| Some(self.last.map_or(last, |known| known.min(last)));
        self.last = if self.walk.may_be_last(number, page) {
            at_most(number)
        } else if !beliefs.says_more(page) && is_short {
            // One more tells whether its total is right.
            at_most(number + 1)
        } else {
            // The page that was the last may be asked for once more, and not be it any longer.
            self.last.filter(|last| number < *last)
        };
    }
}
