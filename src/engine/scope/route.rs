//! Which scope a question is answered from.

use std::sync::Arc;

use super::Scope;
use super::registry::Scopes;
use crate::domain::{MAX_PAGE_SIZE, Span, Status, Timestamp};
use crate::engine::freshness::Membership;
use crate::engine::parts::Parts;
use crate::engine::plan;
use crate::engine::proof::DateSupport;
use crate::engine::terms::Question;
use crate::source::Subject;

/// Where the question is answered from, and whether rows enter and leave there.
///
/// A filter on the status is applied here, to what is known without it, where that costs no more requests than
/// reading under the filter does: then all statuses share one head.
pub(in crate::engine) fn route(
    parts: &Parts,
    scopes: &Scopes,
    question: &Question,
    span: Span,
    now: Timestamp,
) -> (Arc<Scope>, Membership) {
    let subject =
        |filters| Subject { credential: question.credential.clone(), agent: question.agent, filters };
    let dates = if parts.settings.window.is_some() { DateSupport::Kept } else { DateSupport::Ignored };
    let scope_of = |subject: &Subject| match question.directives.only_if_cached {
        true => scopes.of_unread(subject, dates, now),
        false => scopes.of(subject, question.caller.id, &*parts.store, dates, now),
    };
    let own = subject(question.filters.clone());
    let can_change_elsewhere = question.filters.answered_by_voice_mail.is_some();
    if question.any_status.is_some() {
        let wide = subject(question.filters.without_status());
        let scope = scope_of(&wide);
        scope.touch_by_status(now);
        return (scope, if can_change_elsewhere { Membership::Spans } else { Membership::Rows });
    }
    if let Some(status) = question.filters.status.as_ref().filter(|_| !can_change_elsewhere) {
        let wide = subject(question.filters.without_status());
        if is_better_here(parts, scopes, &wide, status, span, now) {
            let scope = scope_of(&wide);
            scope.touch_by_status(now);
            return (scope, Membership::Rows);
        }
    }
    let membership = if own.filters.can_change() { Membership::Spans } else { Membership::Fixed };
    (scope_of(&own), membership)
}

/// The most rows that are read without the filter for the sake of sharing them.
const MAX_SHARED_ROWS: usize = 60 * MAX_PAGE_SIZE;

/// Whether a question about a status is better answered from what is known, or will be, without the filter.
///
/// What is known already decides by its cost. What is not is worth reading if others ask about the same executions
/// under other filters on the status, or under none, and there are not too many.
fn is_better_here(
    parts: &Parts,
    scopes: &Scopes,
    wide: &Subject,
    status: &Status,
    span: Span,
    now: Timestamp,
) -> bool {
    let policy = parts.plain_policy(Membership::Rows);
    let mut expected_rows = None;
    if let Some(scope) = scopes.find(wide) {
        let known = scope.lock();
        let found = known.look(span);
        if !found.is_empty() && plan::is_cheaper_here(&found, status, &policy, now) {
            return true;
        }
        expected_rows = plan::expected_rows(&found, span);
    }
    let kin = scopes.of_any_status(wide);
    let others_ask =
        kin.iter().any(|scope| scope.subject.filters.status.as_ref() != Some(status) && scope.is_asked(now));
    // Of a history that nobody read without the filter it is known that it holds at least those under filters.
    let known = || kin.iter().map(|scope| scope.known_rows(span)).sum::<usize>() * 2;
    others_ask && expected_rows.unwrap_or_else(known) <= MAX_SHARED_ROWS
}
