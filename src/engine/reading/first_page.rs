//! The first page of a question, on its way before its reading begins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{MAX_PAGE_SIZE, Page, PageOf, Span, Timestamp};
use crate::engine::parts::Parts;
use crate::engine::single_flight::{Listener, spawn_shared};
use crate::engine::terms::Question;
use crate::source::{Deadline, RequestContext, SentAt, Subject, Urgency};
use crate::store::ScopeKey;

/// How much what is known of upstream's clock may change while a page is on its way that was asked for up to the
/// present: a whole second, which is all that `Date` tells of a clock that was never seen.
const SAME_CLOCK: i64 = 1_000_000;

/// A first page on its way. Dropping the last one ends its request.
#[derive(Debug)]
pub(in crate::engine) struct Prefetch {
    of: ScopeKey,
    /// What the page is of, as it was asked.
    pub(in crate::engine) asked: Span,
    /// Where the present was by upstream's clock, or the question's end if that was earlier.
    pub(in crate::engine) to: Timestamp,
    /// When it was asked for.
    pub(in crate::engine) sent_at: Instant,
    /// Told when the request went.
    pub(in crate::engine) sent: SentAt,
    ahead_micros: i64,
    pub(in crate::engine) deadline: Option<Deadline>,
    page: Mutex<Option<Listener<Option<Page>>>>,
}

impl Prefetch {
    /// Asks for the first page of a question about what `of` names.
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
        // Wider than the window, so that its newest part is a whole one.
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

    /// Whether it is of what this scope is of.
    pub(in crate::engine) fn is_of(&self, scope: &ScopeKey) -> bool {
        self.of == *scope
    }

    /// Whether it was asked for by the clock that upstream turned out to have.
    pub(in crate::engine) const fn is_timely(&self, ahead_micros: i64) -> bool {
        self.ahead_micros.abs_diff(ahead_micros) <= SAME_CLOCK.unsigned_abs()
    }

    /// Whether it begins a reading of this span.
    pub(in crate::engine) fn begins(&self, span: Span) -> bool {
        span.to() == self.to && self.asked.covers(span.outward())
    }

    /// Waits for the page; none if it can't be had, or was taken before.
    pub(in crate::engine) async fn take(&self) -> Option<Page> {
        let page = self.page.lock().unwrap_or_else(PoisonError::into_inner).take();
        page?.await.ok().flatten()
    }
}
