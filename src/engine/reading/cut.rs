//! Reads a span in pieces of one page each, which need no further proof.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::reader::{MAX_PAGES, REPEATS, Reader, endless, inconsistent};
use super::sink::{Ended, PagesAsked, Sink};
use crate::domain::{Page, PageOf, Row, RowId, Span, Timestamp};
use crate::engine::coverage::{Piece, place};
use crate::engine::proof::{
    Belief, DateSupport, Doubt, LookAgain, PageClaim, Rounds, SECOND, claim, cut_point, fitting_width,
    middle, rows_within, topmost,
};
use crate::engine::terms::AskedAt;

/// How many consecutive pages may have only rows of earlier pages: rows of one second may swap places.
const MAX_REPEATS: u32 = 3;

/// The fault of a page with fewer rows than its total says.
const LACKS: &str = "a page has fewer rows than its total says, and no more follow";

/// How many empty pages with `has_more: true` are treated as a temporary fault.
const MAX_EMPTY_PAGES: u32 = 3;

/// How often one second with more rows than a page is read.
const MAX_ROUNDS: usize = 32;

/// How long a second that has grown rests before it is read again, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// The most pages that one second is believed to have: ten thousand executions.
const MAX_PAGES_A_SECOND: u32 = 200;

/// A part of a region that is still to be read.
#[derive(Clone, Copy)]
struct SpanPart {
    span: Span,
    look: LookAgain,
}

/// The rest of a region that is read in pieces, and what its pages have shown.
struct Cutting {
    /// Newest first.
    left: VecDeque<SpanPart>,
    /// The approximate width of a part that fits a page.
    fitting: Option<Duration>,
    doubt: Option<Doubt>,
    empty_pages: u32,
}

impl Cutting {
    fn of(region: Span) -> Self {
        let left = VecDeque::from([SpanPart { span: region, look: LookAgain::First }]);
        Self { left, fitting: None, doubt: None, empty_pages: 0 }
    }

    /// The top of a part that probably fits a page; the rest comes next.
    fn topmost(&mut self, part: SpanPart) -> SpanPart {
        let (span, rest) = topmost(part.span, self.fitting);
        rest.into_iter().for_each(|span| self.left.push_front(SpanPart { span, ..part }));
        SpanPart { span, ..part }
    }

    /// The doubt that the page of a part confirms.
    fn confirmed_doubt(&mut self, page: &Page, span: Span) -> Option<Doubt> {
        self.doubt.take_if(|doubt| doubt.is_confirmed_by(span, rows_within(page, span)))
    }

    /// Records that a page has all rows of its part.
    fn has_all(&mut self, part: SpanPart, page: &Page, rows_a_piece: usize) {
        let SpanPart { span, look } = part;
        if look == LookAgain::First {
            self.fitting = Some(fitting_width(span, page.rows.len(), rows_a_piece));
        }
        if let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.span.covers(span)) {
            doubt.found += rows_within(page, span);
        }
    }

    /// Requests a part once more whose page was empty and said that more follow.
    fn ask_again(&mut self, part: SpanPart) -> Result<(), Ended> {
        self.empty_pages += 1;
        if self.empty_pages > MAX_EMPTY_PAGES {
            return Err(inconsistent(part.span, "an empty page says that more follow"));
        }
        self.left.push_front(part);
        Ok(())
    }

    /// Cuts a part in two. The upper one comes next.
    fn cut(&mut self, span: Span, at: Timestamp, look: LookAgain) {
        self.fitting = span.after(at).map(Span::width).filter(|_| look == LookAgain::First);
        let (upper, lower) = (span.after(at.previous()), span.before(at));
        lower.into_iter().chain(upper).for_each(|span| self.left.push_front(SpanPart { span, look }));
    }
}

impl Reader<'_> {
    /// Reads a region in pieces of one page each, newest first. `first` is its first page, if it was already
    /// read.
    ///
    /// A page with `has_more: true` proves nothing about its region, whatever its order: it only shows the
    /// density of rows, and so where to cut. Every emitted piece is one page with `has_more: false` whose
    /// `total` does not contradict it.
    pub(super) fn cut<'s>(
        &'s self,
        region: Span,
        mut first: Option<(Page, AskedAt)>,
        sink: &'s dyn Sink,
    ) -> BoxFuture<'s, Result<(), Ended>> {
        Box::pin(async move {
            let mut cutting = Cutting::of(region);
            while let Some(part) = cutting.left.pop_front() {
                let (page, asked_at, part) = match first.take() {
                    Some((page, asked_at)) => (page, asked_at, part),
                    None => {
                        let part = cutting.topmost(part);
                        sink.room(PagesAsked::default()).await?;
                        let of = self.first(part.span.outward());
                        let (page, asked_at) = self.page(of, DateSupport::Kept, sink).await?;
                        (page, asked_at, part)
                    }
                };
                if let Some(doubt) = cutting.confirmed_doubt(&page, part.span) {
                    self.learned.disbelieve_has_more();
                    self.learned.cut_off_at(page.rows.len().max(doubt.rows));
                }
                match self.claim_of(&page, part, &cutting, sink).await? {
                    PageClaim::All => {
                        cutting.has_all(part, &page, self.learned.beliefs().rows_a_piece());
                        let rows = place(page, None, part.span, asked_at.ours);
                        sink.give(Piece::new(part.span, rows, asked_at));
                    }
                    PageClaim::Nothing => cutting.ask_again(part)?,
                    claim @ (PageClaim::More | PageClaim::LessThanItsTotal) => {
                        self.divide(&mut cutting, part, claim, &page, sink).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// What a page says about its part, and, if the page may be truncated, what the part below says about it.
    async fn claim_of(
        &self,
        page: &Page,
        part: SpanPart,
        cutting: &Cutting,
        sink: &dyn Sink,
    ) -> Result<PageClaim, Ended> {
        match self.claim(page, part.look, part.span.outward(), sink).await? {
            claim @ PageClaim::LessThanItsTotal if part.look == LookAgain::Second => {
                self.beside(claim, cutting.left.front().copied(), sink).await
            }
            claim @ (PageClaim::All | PageClaim::More | PageClaim::LessThanItsTotal | PageClaim::Nothing) => {
                Ok(claim)
            }
        }
    }

    /// Cuts a part in two at the instants of its rows; a part that can't be cut is read in rounds.
    async fn divide(
        &self,
        cutting: &mut Cutting,
        part: SpanPart,
        claim: PageClaim,
        page: &Page,
        sink: &dyn Sink,
    ) -> Result<(), Ended> {
        let SpanPart { span, look } = part;
        let asked = span.outward();
        let is_divisible = asked.width() > SECOND;
        let instants: Vec<Timestamp> = page.rows.iter().filter_map(|row| row.created_at).collect();
        if claim == PageClaim::LessThanItsTotal {
            self.follow_up(span, LACKS)?;
            cutting.doubt.get_or_insert(Doubt { span, rows: rows_within(page, span), found: 0 });
            match is_divisible {
                true => cutting.cut(span, middle(span, &instants), LookAgain::Second),
                false => cutting.left.push_front(SpanPart { span, look: LookAgain::Second }),
            }
            return Ok(());
        }
        if !is_divisible {
            return self.rounds(span, asked, DateSupport::Kept, sink).await;
        }
        cutting.cut(span, cut_point(span, &instants, self.learned.beliefs().rows_a_piece()), look);
        Ok(())
    }

    /// What a first page says about its region.
    async fn claim(
        &self,
        page: &Page,
        look: LookAgain,
        asked: Span,
        sink: &dyn Sink,
    ) -> Result<PageClaim, Ended> {
        let (mut beliefs, rows) = (self.learned.beliefs(), page.rows.len());
        if beliefs.has_more && page.has_more && rows > 0 && !beliefs.is_full(rows) {
            self.follow_up(asked, "a page that is not full says that more follow")?;
            let second = PageOf { number: 2, ..self.first(asked) };
            let (second, _) = self.page(second, DateSupport::Kept, sink).await?;
            let seen: HashSet<&RowId> = page.rows.iter().map(|row| &row.id).collect();
            let is_new = |row: &Row| !seen.contains(&row.id);
            match second.rows.is_empty() {
                true => self.learned.disbelieve_has_more(),
                false if second.rows.iter().any(is_new) => {
                    self.is_smaller(rows, asked, DateSupport::Kept, sink).await?;
                    return Ok(PageClaim::More);
                }
                false => return Err(inconsistent(asked, REPEATS)),
            }
            beliefs = self.learned.beliefs();
        }
        let claim = claim(page, &beliefs);
        let may_end =
            claim == PageClaim::More && !beliefs.has_more && !beliefs.lacks(page.total, rows as u64);
        if may_end && rows < beliefs.size() as usize {
            // As many rows as the largest page so far, at most: the next page is a cheaper test than smaller
            // spans.
            let second = PageOf { number: 2, ..self.first(asked) };
            let (second, _) = self.page(second, DateSupport::Kept, sink).await?;
            return Ok(if second.rows.is_empty() { PageClaim::All } else { PageClaim::More });
        }
        let is_doubtful = claim == PageClaim::LessThanItsTotal && look == LookAgain::Second;
        if is_doubtful && asked.width() <= SECOND {
            // No smaller span can show more, but the next page can.
            let second = PageOf { number: 2, ..self.first(asked) };
            let (second, _) = self.page(second, DateSupport::Kept, sink).await?;
            if !second.rows.is_empty() {
                self.learned.disbelieve_has_more();
                return Ok(PageClaim::More);
            }
            self.learned.disbelieve_total();
            return Ok(PageClaim::All);
        }
        if is_doubtful && !beliefs.is_full(rows) {
            // The parts of the span showed no more rows either, and this page was not truncated.
            self.learned.disbelieve_total();
            return Ok(PageClaim::All);
        }
        Ok(claim)
    }

    /// Reads the part below one whose page may be truncated. If the page below is complete and also has fewer
    /// rows than its total, the total is wrong.
    async fn beside(
        &self,
        claim: PageClaim,
        below: Option<SpanPart>,
        sink: &dyn Sink,
    ) -> Result<PageClaim, Ended> {
        let Some(below) = below.filter(|below| below.look == LookAgain::Second) else { return Ok(claim) };
        self.follow_up(below.span, LACKS)?;
        let (page, _) = self.page(self.first(below.span.outward()), DateSupport::Kept, sink).await?;
        let beliefs = self.learned.beliefs();
        let is_wrong = beliefs.lacks(page.total, page.rows.len() as u64) && !beliefs.says_more(&page);
        if !is_wrong || beliefs.is_full(page.rows.len()) {
            return Ok(claim);
        }
        self.learned.disbelieve_total();
        Ok(PageClaim::All)
    }

    /// Reads all pages of a list again and again, until rounds find nothing new.
    pub(super) async fn rounds(
        &self,
        region: Span,
        asked: Span,
        dates: DateSupport,
        sink: &dyn Sink,
    ) -> Result<(), Ended> {
        let mut rounds = Rounds::new(region);
        let most_pages = if asked.width() <= SECOND { MAX_PAGES_A_SECOND } else { MAX_PAGES };
        let mut rest = FIRST_REST;
        let size = self.learned.beliefs().size();
        for _ in 0..MAX_ROUNDS {
            rounds.begin();
            let mut is_in_doubt = false;
            for number in 1.. {
                if number > most_pages {
                    return Err(endless(asked));
                }
                sink.room(PagesAsked::default()).await?;
                let (mut page, asked_at) =
                    self.page(PageOf { span: asked, number, size }, dates, sink).await?;
                let (total, is_empty) = (page.total, page.rows.is_empty());
                page.total = page.total.filter(|_| !self.subject.filters.can_change());
                let has_more = self.learned.beliefs().says_more(&page) && !is_empty;
                rounds.take(page, asked_at);
                if is_in_doubt {
                    match rounds.repeats() {
                        0 => self.learned.disbelieve_has_more(),
                        _ => self.learned.disbelieve_total(),
                    }
                }
                // A page that says that it is the last one, although there are more rows by its total.
                is_in_doubt =
                    !has_more && !is_empty && self.learned.beliefs().lacks(total, rounds.length() as u64);
                if !has_more && !is_in_doubt {
                    break;
                }
                if rounds.repeats() >= MAX_REPEATS {
                    return Err(inconsistent(asked, REPEATS));
                }
            }
            if rounds.end() == Belief::Whole {
                rounds.into_piece().into_iter().for_each(|piece| sink.give(piece));
                return Ok(());
            }
            if rounds.has_grown() {
                self.rest(region, &mut rest).await;
            }
        }
        Err(inconsistent(region, "read again and again, it never showed all of its rows at once"))
    }
}

impl Reader<'_> {
    /// Waits if upstream may still commit rows to a region: read at once, it would have grown again.
    async fn rest(&self, region: Span, rest: &mut Duration) {
        let fills_for = self.commit_lag.saturating_sub(self.clock.now().since(region.to()));
        tokio::time::sleep(fills_for.min(*rest)).await;
        *rest = (*rest * 2).min(LONGEST_REST);
    }
}
