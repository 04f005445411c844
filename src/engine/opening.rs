//! The first page of a question, on its way while upstream's word on the key is still awaited.
//!
//! A first question would wait two round trips for its first row: one for the key, one for page 1. Both can be asked
//! for at once, because what the question's newest part is does not depend on the answer: when the agent was made
//! only ends the part earlier. So whoever asks about a pair that nothing is known of sends page 1 along with the
//! check. Nothing of it is looked at before the check has passed; a check that fails drops it.
//!
//! What it costs: one request more for a key that is refused, from the part of the budget that such keys have. It
//! waits for no room, is not tried again, and whatever is wrong with it, the page is asked for in the ordinary way.
//!
//! Everybody who asks the same meanwhile shares it, and answers from where *its* present was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::inner::Inner;
use super::question::Question;
use super::scope::Scope;
use super::scopes;
use super::single_flight::{Listener, spawn_shared};
use crate::domain::{MAX_PAGE_SIZE, Page, PageOf, Span, Timestamp};
use crate::source::{Deadline, RequestContext, SentAt, Subject, Urgency};

/// How much what is known of upstream's clock may change while a page is on its way that was asked for up to the
/// present: a whole second, which is all that `Date` tells of a clock that was never seen.
const SAME_CLOCK: i64 = 1_000_000;

type Key = (scopes::Key, Option<Timestamp>, Option<Timestamp>);

/// The pages that are on their way, by what they are of.
#[derive(Debug, Default)]
pub(super) struct Openings {
    under_way: Mutex<HashMap<Key, Weak<Opening>>>,
}

/// A first page on its way. Dropping the last one ends its request.
#[derive(Debug)]
pub(super) struct Opening {
    of: scopes::Key,
    /// What the page is of, as it was asked.
    pub(super) asked: Span,
    /// Where the present was by upstream's clock, or the question's end if that was earlier.
    pub(super) to: Timestamp,
    /// When it was asked for.
    pub(super) sent_at: Instant,
    /// Told when the request went.
    pub(super) sent: SentAt,
    ahead_micros: i64,
    deadline: Option<Deadline>,
    page: Mutex<Option<Listener<Option<Page>>>>,
}

impl Openings {
    /// Asks for the first page of a question about a pair that nothing is known of, or joins whoever did; none
    /// where that could not help.
    pub(super) fn begin(
        &self,
        inner: &Arc<Inner>,
        question: &Question,
        context: &RequestContext,
    ) -> Option<Arc<Opening>> {
        let subject = Subject {
            credential: question.credential.clone(),
            agent: question.agent,
            filters: question.filters.clone(),
        };
        let wide = Subject { filters: question.filters.without_status(), ..subject.clone() };
        let is_known = || !inner.scopes.of_any_status(&wide).is_empty();
        let window = inner.settings.window?;
        if !inner.source.may_send_ahead(question.credential.id(), question.caller) {
            return None;
        }
        if question.directives.only_if_cached || is_known() {
            return None;
        }
        let key = (scopes::key_of(&subject), question.from, question.to);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, opening| opening.strong_count() > 0);
        let live =
            inner.settings.live_ttl.min(question.directives.max_age.unwrap_or(inner.settings.live_ttl));
        let is_fresh = |opening: &Arc<Opening>| opening.sent_at.elapsed() <= live;
        if let Some(opening) = under_way.get(&key).and_then(Weak::upgrade).filter(is_fresh) {
            if let (Some(theirs), Some(ours)) = (&opening.deadline, &context.deadline) {
                theirs.extend_to(ours.instant());
            }
            return Some(opening);
        }
        let opening = Arc::new(Opening::send(inner, question, subject, context, window)?);
        under_way.insert(key, Arc::downgrade(&opening));
        Some(opening)
    }
}

impl Opening {
    fn send(
        inner: &Arc<Inner>,
        question: &Question,
        subject: Subject,
        context: &RequestContext,
        window: Duration,
    ) -> Option<Self> {
        let of = scopes::key_of(&subject);
        let sent_at = Instant::now();
        let present = inner.clock.asked_at(sent_at, &*inner.source).upstream;
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
        let (source, deadline) = (Arc::clone(&inner.source), context.deadline.clone());
        let page = spawn_shared(&inner.shutdown, async move {
            source
                .page(&subject, PageOf { span: asked, number: 1, size: MAX_PAGE_SIZE as u32 }, &context)
                .await
                .ok()
        });
        let ahead_micros = inner.source.clock_ahead_micros();
        let page = Mutex::new(Some(page));
        Some(Self { of, asked, to, sent_at, sent, ahead_micros, deadline, page })
    }

    /// Whether it is of what this scope is of.
    pub(super) fn is_of(&self, scope: &Scope) -> bool {
        self.of == scope.key
    }

    /// Whether it was asked for by the clock that upstream turned out to have.
    pub(super) const fn is_timely(&self, ahead_micros: i64) -> bool {
        self.ahead_micros.abs_diff(ahead_micros) <= SAME_CLOCK.unsigned_abs()
    }

    /// Whether it begins a reading of this span.
    pub(super) fn begins(&self, span: Span) -> bool {
        span.to() == self.to && self.asked.covers(span.outward())
    }

    /// Waits for the page; none if it can't be had, or was taken before.
    pub(super) async fn take(&self) -> Option<Page> {
        let page = self.page.lock().unwrap_or_else(PoisonError::into_inner).take();
        page?.await.ok().flatten()
    }
}
