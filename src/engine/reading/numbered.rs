//! Requests the numbered pages of a walk, several at once.

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

/// The outcome of a walk.
pub(super) enum Walked {
    /// All of its region was emitted.
    Whole,
    /// The proof failed. The rest of the region, and the instants at which rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
    /// A page had only rows of earlier pages. The rest of the region.
    Repeated { rest: Span },
    /// The list ended before its total was reached.
    Short,
}

/// A result that arrived for a walk.
enum Landed {
    Page(u32, Page),
    /// All rows of an instant.
    Tie(Timestamp, Vec<NewRow>),
}

/// A walk and its requested pages.
struct NumberedPages<'s, 'w> {
    reader: &'s Reader<'s>,
    walk: &'w mut Walk,
    asked: Span,
    sink: &'s dyn Sink,
    flights: FuturesUnordered<BoxFuture<'s, Result<Landed, Ended>>>,
    /// Results that arrived and were not processed yet.
    landed: VecDeque<Result<Landed, Ended>>,
    /// The next page to request.
    next: u32,
    /// The last page, once it is known.
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

    /// Reads the rows of one instant separately.
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
    /// Performs the steps of the walk until it needs a result that has not arrived; returns the outcome once
    /// it is over.
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
        // If no part can be requested separately, the list is walked once more. The same difference again
        // means that the total counts something else.
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

    /// Waits for a page or a tie, and requests further pages meanwhile.
    ///
    /// A result that has arrived makes room for other pages, which are requested before it is processed.
    async fn land(&mut self) -> Result<Landed, Ended> {
        let sink = self.sink;
        let planned = self.walk.planned().min(MAX_PAGES);
        // Earlier pages were smaller than it seemed.
        self.last = self.last.map(|last| last.max(self.walk.accepted() + 1));
        sink.count(Pages::Planned(planned));
        if self.walk.accepted() >= MAX_PAGES {
            return Err(endless(self.asked));
        }
        loop {
            // If dates are ignored, any page may show that the rest is below the region.
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

    /// Records what a page says about which page is the last.
    fn note_last(&mut self, number: u32, page: &Page) {
        let beliefs = self.walk.beliefs();
        let is_short = page.rows.len() < beliefs.size() as usize;
        let at_most = |last: u32| Some(self.last.map_or(last, |known| known.min(last)));
        self.last = if self.walk.may_be_last(number, page) {
            at_most(number)
        } else if !beliefs.says_more(page) && is_short {
            // One more shows whether its total is right.
            at_most(number + 1)
        } else {
            // The last page may be requested once more, and not be the last any longer.
            self.last.filter(|last| number < *last)
        };
    }
}
