//! The first page of a question, requested before its read begins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{MAX_PAGE_SIZE, Page, PageOf, Span, Timestamp};
use crate::engine::parts::Parts;
use crate::engine::single_flight::{Listener, spawn_shared};
use crate::engine::terms::Question;
use crate::source::{Deadline, RequestContext, SentAt, Subject, Urgency};
use crate::store::ScopeKey;

/// How much the estimate of upstream's clock may change while a page is in flight that was requested up to
/// the present: a whole second, which is the precision of `Date` for a clock that was never seen.
const SAME_CLOCK: i64 = 1_000_000;

/// A first page in flight. Dropping the last reference cancels its request.
#[derive(Debug)]
pub(in crate::engine) struct Prefetch {
    of: ScopeKey,
    /// The requested span of the page.
    pub(in crate::engine) asked: Span,
    /// The present by upstream's clock, or the end of the question if that was earlier.
    pub(in crate::engine) to: Timestamp,
    /// When it was requested.
    pub(in crate::engine) sent_at: Instant,
    /// Set when the request is sent.
    pub(in crate::engine) sent: SentAt,
    ahead_micros: i64,
    pub(in crate::engine) deadline: Option<Deadline>,
    page: Mutex<Option<Listener<Option<Page>>>>,
}

impl Prefetch {
    /// Requests the first page of a question about the scope that `of` names.
    pub(in crate::engine) fn send(
        parts: &Parts,
        question: &Question,
        of: ScopeKey,
        subject: Subject,
        context: &RequestContext,
        window: Duration,
    ) -> Option<Self> {
        let sent_at = Instant::now();
        let present = parts.clock.asked_at(sent_at, &*parts.source).upstream;
        let to = question.to.map_or(present, |to| to.min(present));
        // Wider than the window, so that its newest part is complete.
        let from = question.from.unwrap_or(to.minus(2 * window));
        let asked = Span::new(from, to)?.split(window).first()?.outward();
        let sent = SentAt::default();
        let context = RequestContext {
            urgency: Urgency::Cold,
            budget_wait: Some(Duration::ZERO),
            retry_for: Duration::ZERO,
            sent: sent.clone(),
            ..context.clone()
        };
        let (source, deadline) = (Arc::clone(&parts.source), context.deadline.clone());
        let page = spawn_shared(&parts.shutdown, async move {
            source
                .page(&subject, PageOf { span: asked, number: 1, size: MAX_PAGE_SIZE as u32 }, &context)
                .await
                .ok()
        });
        let ahead_micros = parts.source.clock_ahead_micros();
        let page = Mutex::new(Some(page));
        Some(Self { of, asked, to, sent_at, sent, ahead_micros, deadline, page })
    }

    /// Whether it belongs to this scope.
    pub(in crate::engine) fn is_of(&self, scope: &ScopeKey) -> bool {
        self.of == *scope
    }

    /// Whether it was requested by the clock that upstream turned out to have.
    pub(in crate::engine) const fn is_timely(&self, ahead_micros: i64) -> bool {
        self.ahead_micros.abs_diff(ahead_micros) <= SAME_CLOCK.unsigned_abs()
    }

    /// Whether it is the start of a read of this span.
    pub(in crate::engine) fn begins(&self, span: Span) -> bool {
        span.to() == self.to && self.asked.covers(span.outward())
    }

    /// Waits for the page; `None` if it could not be read, or was already taken.
    pub(in crate::engine) async fn take(&self) -> Option<Page> {
        let page = self.page.lock().take();
        page?.await.ok().flatten()
    }
}
