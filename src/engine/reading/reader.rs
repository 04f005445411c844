//! Reads a span whole: walks it, and where the proof fails cuts it until every piece is beyond doubt.
//!
//! A span answered by one page that says "no more" needs no proof: one answer is one moment. So whatever happens to
//! the list, a span can be cut at the instants of its rows into pieces of at most one page each. In a list that is
//! newest first the cut is cheaper still: the top of any span is one page, and the next question ends where it
//! ended. An upstream that gives no total, or one that counts something else, is read that way from the start.
//! What can't be cut any further is one second with more rows than a page; it is read round after round, until
//! rounds bring nothing new.
//!
//! What upstream says of its pages is believed until it contradicts itself; then a few more requests tell what is wrong.
//!
//! Left out on purpose: page sizes under the maximum where upstream keeps to it (more requests for the same proof), and
//! cuts within a second (whether upstream compares microseconds is not known).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::first_page::Prefetch;
use super::sink::{Ended, Pages, Sink};
use crate::domain::{MAX_PAGE_SIZE, Page, PageOf, Span};
use crate::engine::coverage::has_strays;
use crate::engine::proof::{DateSupport, Learned};
use crate::engine::terms::{AskError, AskedAt, Clock};
use crate::source::{RequestContext, SentAt, Source, Subject};

/// The most pages one walk may have: a million rows. A list that goes on for longer does not end.
pub(super) const MAX_PAGES: u32 = 20_000;

/// The most requests that a reading spends on contradictions, beyond those for its pages.
const MAX_FOLLOW_UPS: u32 = 8;

/// Reads spans of one scope.
pub(in crate::engine) struct Reader<'a> {
    pub(in crate::engine) source: &'a dyn Source,
    pub(in crate::engine) clock: &'a Clock,
    pub(in crate::engine) subject: &'a Subject,
    pub(in crate::engine) context: &'a RequestContext,
    pub(in crate::engine) learned: &'a Learned,
    /// How late upstream may show a row.
    pub(in crate::engine) commit_lag: Duration,
    /// The first page of what is to be read, if it is on its way already.
    pub(in crate::engine) prefetch: Option<&'a Prefetch>,
    /// The pages in flight for the answer on whose behalf this reads.
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    /// How many pages one walk asks for at once.
    pub(in crate::engine) fan_out: usize,
    /// How many requests went to contradictions so far.
    pub(in crate::engine) follow_ups: AtomicU32,
}

impl Reader<'_> {
    /// The first page of what is asked.
    pub(super) fn first(&self, span: Span) -> PageOf {
        PageOf { span, number: 1, size: self.learned.beliefs().size() }
    }

    /// Counts a request that only a contradiction makes necessary.
    ///
    /// # Errors
    /// If there were too many.
    pub(super) fn follow_up(&self, span: Span, what: &str) -> Result<(), Ended> {
        match self.follow_ups.fetch_add(1, Ordering::Relaxed) < MAX_FOLLOW_UPS {
            true => Ok(()),
            false => Err(inconsistent(span, &format!("upstream contradicts itself: {what}"))),
        }
    }

    /// The first page of a region, what it was asked as and when, if it was on its way already and is of the region
    /// alone.
    pub(super) async fn opened(
        &self,
        region: Span,
        sink: &dyn Sink,
    ) -> Result<Option<(Page, Span, AskedAt)>, Ended> {
        let is_usual = |_: &&Prefetch| self.learned.beliefs().size() as usize == MAX_PAGE_SIZE;
        let Some(prefetch) = self.prefetch.filter(is_usual) else { return Ok(None) };
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        sink.wanted()?;
        let around = region.outward();
        let is_of_it = |page: &Page| {
            let mut instants = page.rows.iter().filter_map(|row| row.created_at);
            prefetch.asked == around || instants.all(|at| around.contains(at))
        };
        sink.asks(&prefetch.sent);
        let page = prefetch.take().await.filter(is_of_it);
        let sent_at = prefetch.sent.sent_at().unwrap_or(prefetch.sent_at);
        let asked_at = self.clock.asked_at(sent_at, self.source);
        Ok(page.map(|page| {
            sink.count(Pages::Read { sent_at });
            self.learned.saw(page.rows.len());
            (page, prefetch.asked, asked_at)
        }))
    }

    /// Reads a page, and says when it was asked for: when its request went, not when it began to wait for its turn.
    ///
    /// # Errors
    /// Also if it has rows of another time.
    pub(super) async fn page(
        &self,
        of: PageOf,
        dates: DateSupport,
        sink: &dyn Sink,
    ) -> Result<(Page, AskedAt), Ended> {
        let (page, asked_at) = self.any_page(of, sink).await?;
        match dates {
            DateSupport::Kept => Ok((self.within_dates(page, of.span)?, asked_at)),
            DateSupport::Ignored => Ok((page, asked_at)),
        }
    }

    /// The page, unless it has rows of another time than was asked for.
    ///
    /// Rows up to a second beyond come from a coarser comparison; they belong to the neighboring span.
    pub(super) fn within_dates(&self, page: Page, asked: Span) -> Result<Page, Ended> {
        if has_strays(&page, asked) {
            return Err(inconsistent(asked, STRAYS));
        }
        Ok(page)
    }

    /// Asks for a first page once more that had only so many rows; pages are that small only if it has no more of them now.
    pub(super) async fn is_smaller(&self, rows: usize, asked: Span, sink: &dyn Sink) -> Result<(), Ended> {
        self.follow_up(asked, "its pages are cut off")?;
        let (page, _) = self.page(self.first(asked), DateSupport::Kept, sink).await?;
        if page.rows.len() <= rows {
            self.learned.resized(page.rows.len().max(1));
        }
        Ok(())
    }

    async fn any_page(&self, of: PageOf, sink: &dyn Sink) -> Result<(Page, AskedAt), Ended> {
        let _permit = self.in_flight.acquire().await.map_err(|_| Ended::Unwanted)?;
        sink.wanted()?;
        let context = RequestContext { sent: SentAt::default(), ..self.context.clone() };
        sink.asks(&context.sent);
        let began = Instant::now();
        let page = self.source.page(self.subject, of, &context).await?;
        self.learned.saw(page.rows.len());
        let sent_at = context.sent.sent_at().unwrap_or(began);
        sink.count(Pages::Read { sent_at });
        Ok((page, self.clock.asked_at(sent_at, self.source)))
    }
}

/// What is wrong with a page that has rows of another time.
const STRAYS: &str = "upstream answers with executions created outside the dates that were asked for; if it takes no dates, \
    serve with `--window none`";

/// What is wrong with a page that has nothing but rows of the one before.
pub(super) const REPEATS: &str = "a page repeats the one before, and says that more follow";

/// The list does not end.
pub(super) fn endless(span: Span) -> Ended {
    inconsistent(span, "the list does not end")
}

/// The list can't be proven whole.
pub(super) fn inconsistent(span: Span, detail: &str) -> Ended {
    Ended::Failed(AskError::Inconsistent { span, detail: detail.to_owned() })
}
