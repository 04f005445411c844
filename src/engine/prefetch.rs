//! Requests the first page of a question while the check of its key is still in progress.
//!
//! A first question would wait two round trips for its first row: one for the key, one for page 1. Both can
//! be requested at once, because the newest part of the question doesn't depend on the check: the agent's
//! creation only ends that part earlier. So if nothing is known of a pair, page 1 is sent together with the
//! check. Nothing of the page is used before the check has passed; if the check fails, the page is dropped.
//!
//! The cost is one more request for a key that is refused, from the share of the budget that such keys have.
//! It doesn't wait for room and is not retried. If anything is wrong with it, the page is requested in the
//! ordinary way. Concurrent callers with the same question share it, and use *its* present for their
//! responses.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::parts::Parts;
use super::reading::Prefetch;
use super::scope::{Scopes, key_of};
use super::terms::Question;
use crate::domain::{Filters, Timestamp};
use crate::source::{RequestContext, Subject};
use crate::store::ScopeKey;

type PrefetchKey = (ScopeKey, Option<Timestamp>, Option<Timestamp>);

/// The first pages in flight, by scope.
#[derive(Debug, Default)]
pub(super) struct Prefetches {
    under_way: Mutex<HashMap<PrefetchKey, Weak<Prefetch>>>,
}

impl Prefetches {
    /// Requests the first page of a question about an unknown pair, or joins a request in flight; `None` if
    /// that could not help.
    pub(super) fn begin(
        &self,
        parts: &Parts,
        scopes: &Scopes,
        question: &Question,
        context: &RequestContext,
    ) -> Option<Arc<Prefetch>> {
        let subject = Subject {
            credential: question.credential.clone(),
            agent: question.agent,
            filters: question.filters.clone(),
        };
        let wide = Subject { filters: question.filters.without_status(), ..subject.clone() };
        let bare = Subject { filters: Filters::default(), ..subject.clone() };
        let is_known = || [&wide, &bare].into_iter().any(|subject| !scopes.of_any_status(subject).is_empty());
        let window = parts.settings.window?;
        if !parts.source.may_send_ahead(question.credential.id(), question.caller) {
            return None;
        }
        if question.directives.only_if_cached || is_known() {
            return None;
        }
        let of = key_of(&subject);
        let key = (of, question.from, question.to);
        let mut under_way = self.under_way.lock();
        under_way.retain(|_, prefetch| prefetch.strong_count() > 0);
        let live =
            parts.settings.live_ttl.min(question.directives.max_age.unwrap_or(parts.settings.live_ttl));
        let is_fresh = |prefetch: &Arc<Prefetch>| prefetch.sent_at.elapsed() <= live;
        if let Some(prefetch) = under_way.get(&key).and_then(Weak::upgrade).filter(is_fresh) {
            if let (Some(theirs), Some(ours)) = (&prefetch.deadline, &context.deadline) {
                theirs.extend_to(ours.instant());
            }
            return Some(prefetch);
        }
        let prefetch = Arc::new(Prefetch::send(parts, question, of, subject, context, window)?);
        under_way.insert(key, Arc::downgrade(&prefetch));
        Some(prefetch)
    }
}
