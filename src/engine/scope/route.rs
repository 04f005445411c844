//! Which scope a question is answered from.

use std::sync::Arc;

use super::registry::Scopes;
use super::{Scope, View};
use crate::domain::{MAX_PAGE_SIZE, Span, Status, Timestamp};
use crate::engine::freshness::{Membership, Policy};
use crate::engine::parts::Parts;
use crate::engine::plan;
use crate::engine::proof::DateSupport;
use crate::engine::terms::{Question, RowNeed};
use crate::source::Subject;

/// What a question is answered from, and what else knows of its rows.
pub(in crate::engine) struct Routed {
    pub(in crate::engine) view: View,
    /// What may be given in its place while upstream fails.
    pub(in crate::engine) otherwise: Option<View>,
}

/// Where the question is answered from, and whether rows enter and leave there.
///
/// A filter on the status is applied here, to what is known without it, where that costs no more requests than
/// reading under the filter does: then all statuses share one head. Rows that are known and fresh without the filter
/// cost none at all.
pub(in crate::engine) fn route(
    parts: &Parts,
    scopes: &Scopes,
    question: &Question,
    span: Span,
    now: Timestamp,
) -> Routed {
    let subject =
        |filters| Subject { credential: question.credential.clone(), agent: question.agent, filters };
    let dates = if parts.settings.window.is_some() { DateSupport::Kept } else { DateSupport::Ignored };
    let scope_of = |subject: &Subject| match question.directives.only_if_cached {
        true => scopes.of_unread(subject, dates, now),
        false => scopes.of(subject, question.caller.id, &*parts.store, dates, now),
    };
    let plain = parts.policy(Membership::Fixed, question.credential.id(), question.caller);
    let view_of = |scope: Arc<Scope>, membership, status| {
        let policy = Policy { membership, ..plain }.wished(&question.directives).of_scope(scope.stagger);
        let (need, window) = (question.need, parts.settings.span_width());
        View { scope, status, policy, asked_at: now, need, window }
    };
    let own = subject(question.filters.clone());
    let wide = subject(question.filters.without_status());
    // Under another filter that changes, rows may enter that were not known there.
    let membership_of_wide = if wide.filters.can_change() { Membership::Spans } else { Membership::Rows };
    let alone = |view| Routed { view, otherwise: None };
    if let Some(statuses) = &question.any_status {
        let scope = scope_of(&wide);
        scope.touch_by_status(now);
        return alone(view_of(scope, membership_of_wide, Some(statuses.clone())));
    }
    let Some(status) = &question.filters.status else {
        let membership = if own.filters.can_change() { Membership::Spans } else { Membership::Fixed };
        return alone(view_of(scope_of(&own), membership, None));
    };
    let view_of_wide = |scope| view_of(scope, membership_of_wide, Some(status.clone().into()));
    if membership_of_wide == Membership::Rows
        && is_better_here(parts, scopes, &wide, status, (span, question.need), now)
    {
        let scope = scope_of(&wide);
        scope.touch_by_status(now);
        return alone(view_of_wide(scope));
    }
    let view_of_own = |scope| view_of(scope, Membership::Spans, None);
    let Some(elsewhere) = scopes.find(&wide).map(view_of_wide) else {
        return alone(view_of_own(scope_of(&own)));
    };
    // One more than wanted: whether there is one is part of the answer.
    let rows = question.newest.map(|newest| newest.end().saturating_add(1));
    let known = scopes.find(&own).map(view_of_own);
    if !known.is_some_and(|own| own.is_fresh(span, rows)) && elsewhere.is_fresh(span, rows) {
        return alone(view_of_wide(scope_of(&wide)));
    }
    let view = view_of_own(scope_of(&own));
    let allowed = question.directives.may_be_stale_for(parts.settings.stale_while_revalidate);
    let may_be_stale = |view: &View| view.stale_span(view.up_to_present(span), allowed, rows).is_some();
    if question.directives.only_if_cached && !may_be_stale(&view) && may_be_stale(&elsewhere) {
        return alone(elsewhere);
    }
    Routed { view, otherwise: Some(elsewhere) }
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
    (span, need): (Span, RowNeed),
    now: Timestamp,
) -> bool {
    let policy = parts.plain_policy(Membership::Rows);
    let mut expected_rows = None;
    if let Some(scope) = scopes.find(wide) {
        let known = scope.lock();
        let found = known.coverage.look_for(span, need);
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
