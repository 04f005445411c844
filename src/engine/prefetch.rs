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

use super::parts::Parts;
use super::reading::Prefetch;
use super::scope::{Scopes, key_of};
use super::terms::Question;
use crate::domain::Timestamp;
use crate::source::{RequestContext, Subject};
use crate::store::ScopeKey;

type PrefetchKey = (ScopeKey, Option<Timestamp>, Option<Timestamp>);

/// The pages that are on their way, by what they are of.
#[derive(Debug, Default)]
pub(super) struct Prefetches {
    under_way: Mutex<HashMap<PrefetchKey, Weak<Prefetch>>>,
}

impl Prefetches {
    /// Asks for the first page of a question about a pair that nothing is known of, or joins whoever did; none
    /// where that could not help.
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
        let is_known = || !scopes.of_any_status(&wide).is_empty();
        let window = parts.settings.window?;
        if !parts.source.may_send_ahead(question.credential.id(), question.caller) {
            return None;
        }
        if question.directives.only_if_cached || is_known() {
            return None;
        }
        let of = key_of(&subject);
        let key = (of, question.from, question.to);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
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
