//! Reads a span completely: walks it, and where the proof fails, cuts it until every piece is beyond doubt.
//!
//! A span whose response is one page with `has_more: false` needs no further proof: one response shows one
//! moment. So whatever happens to the list, a span can be cut at the instants of its rows into pieces of at
//! most one page each. In a list that is newest first, cutting is cheaper still: the top of any span is one
//! page, and the next request ends where that page ended. An upstream that gives no total, or one that counts
//! something else, is read that way from the start. The only part that can't be cut is one second with more
//! rows than a page; it is read round after round, until rounds find nothing new.
//!
//! Upstream's statements about its pages are believed until they contradict each other; then a few more
//! requests show what is wrong.
//!
//! Left out on purpose: smaller pages than the maximum if upstream supports it (more requests for the same
//! proof), and cuts within a second (it is not known whether upstream compares microseconds).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::first_page::Prefetch;
use super::sink::{Ended, Pages, Sink};
use crate::domain::{MAX_PAGE_SIZE, Page, PageOf, Span};
use crate::engine::proof::{DateSupport, Learned};
use crate::engine::terms::{AskError, AskedAt, Clock};
use crate::source::{RequestContext, SentAt, Source, Subject};

/// The most pages of one walk: a million rows. A longer list counts as endless.
pub(super) const MAX_PAGES: u32 = 20_000;

/// The most requests that a reading spends on contradictions, in addition to those for its pages.
const MAX_FOLLOW_UPS: u32 = 8;

/// Reads spans of one scope.
pub(in crate::engine) struct Reader<'a> {
    pub(in crate::engine) source: &'a dyn Source,
    pub(in crate::engine) clock: &'a Clock,
    pub(in crate::engine) subject: &'a Subject,
    pub(in crate::engine) context: &'a RequestContext,
    pub(in crate::engine) learned: &'a Learned,
    /// How long after its `created_at` upstream may first show a row.
    pub(in crate::engine) commit_lag: Duration,
    /// The first page of the span, if it is already in flight.
    pub(in crate::engine) prefetch: Option<&'a Prefetch>,
    /// Limits the pages in flight for the answer that this read belongs to.
    pub(in crate::engine) in_flight: Arc<Semaphore>,
    /// How many pages one walk requests at once.
    pub(in crate::engine) fan_out: usize,
    /// How many requests were spent on contradictions.
    pub(in crate::engine) follow_ups: AtomicU32,
}

impl Reader<'_> {
    /// The first page of a span.
    pub(super) fn first(&self, span: Span) -> PageOf {
        PageOf { span, number: 1, size: self.learned.beliefs().size() }
    }

    /// Counts a request that only a contradiction makes necessary.
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn follow_up(&self, span: Span, what: &str) -> Result<(), Ended> {
        match self.follow_ups.fetch_add(1, Ordering::Relaxed) < MAX_FOLLOW_UPS {
            true => Ok(()),
            false => Err(inconsistent(span, &format!("upstream contradicts itself: {what}"))),
        }
    }

    /// The first page of a region with its requested span and time, if it was already in flight and has only
    /// rows of the region.
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

    /// Reads a page; also returns when it was requested, which is when the request was sent, not when it
    /// began to wait for its turn.
    ///
    /// # Errors
    /// Also if it has rows from outside the dates.
    pub(super) async fn page(
        &self,
        of: PageOf,
        dates: DateSupport,
        sink: &dyn Sink,
    ) -> Result<(Page, AskedAt), Ended> {
        let (page, asked_at) = self.any_page(of, sink).await?;
        within_dates(&page, of.span, dates)?;
        Ok((page, asked_at))
    }

    /// Requests a first page with only `rows` rows once more. Pages are that small only if it has no more
    /// rows now.
    pub(super) async fn is_smaller(
        &self,
        rows: usize,
        asked: Span,
        dates: DateSupport,
        sink: &dyn Sink,
    ) -> Result<(), Ended> {
        self.follow_up(asked, "its pages are cut off")?;
        let (page, _) = self.page(self.first(asked), dates, sink).await?;
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

/// The fault of a page that has rows from outside the dates.
const STRAYS: &str = "upstream answers with executions created outside the dates that were asked for; if it takes no dates, \
    serve with `--window none`";

/// The fault of a page that has only rows of the previous page.
pub(super) const REPEATS: &str = "a page repeats the one before, and says that more follow";

/// Refuses a page that has rows from outside the requested dates.
pub(super) fn within_dates(page: &Page, asked: Span, dates: DateSupport) -> Result<(), Ended> {
    if dates.is_contradicted_by(page, asked) { Err(inconsistent(asked, STRAYS)) } else { Ok(()) }
}

/// The list does not end.
pub(super) fn endless(span: Span) -> Ended {
    inconsistent(span, "the list does not end")
}

/// The list can't be proven complete.
pub(super) fn inconsistent(span: Span, detail: &str) -> Ended {
    Ended::Failed(AskError::Inconsistent { span, detail: detail.to_owned() })
}
