//! Chooses the scope that a question is answered from.

use std::sync::Arc;

use super::registry::Scopes;
use super::{Scope, View};
use crate::domain::{Filters, MAX_PAGE_SIZE, Span, Statuses, Timestamp};
use crate::engine::freshness::{Membership, Policy};
use crate::engine::parts::Parts;
use crate::engine::plan;
use crate::engine::proof::DateSupport;
use crate::engine::terms::{Question, RowNeed};
use crate::source::Subject;

/// The scope that a question is answered from, and others that know some of its rows.
pub(in crate::engine) struct Routed {
    pub(in crate::engine) view: View,
    /// Scopes that may replace it while upstream fails; the first that knows enough is used.
    pub(in crate::engine) otherwise: Vec<View>,
}

/// Who applies the filters other than the status filter, which upstream may interpret differently than the
/// gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Picking {
    /// The gateway, if what it knows about every row decides.
    Here,
    /// Upstream.
    Upstream,
}

/// A way to answer a question: which rows are read, and which of them are selected here.
struct RouteChoice {
    subject: Subject,
    status: Option<Statuses>,
    filters: Option<Filters>,
}

impl RouteChoice {
    /// Whether rows enter and leave the result of this way.
    fn membership(&self) -> Membership {
        let picks_what_changes =
            self.status.is_some() || self.filters.as_ref().is_some_and(Filters::can_change);
        if self.subject.filters.can_change() {
            // Upstream applies it: rows may enter that were not known before.
            Membership::Spans
        } else if picks_what_changes {
            Membership::Rows
        } else {
            Membership::Fixed
        }
    }
}

/// The ways to answer a question: with its filters, without its status filter, and without any filter.
fn ways(question: &Question) -> (RouteChoice, Option<RouteChoice>, Option<RouteChoice>) {
    let subject =
        |filters| Subject { credential: question.credential.clone(), agent: question.agent, filters };
    let status = question.any_status.clone().or_else(|| question.filters.status.clone().map(Statuses::from));
    let others = question.filters.without_status();
    let own = RouteChoice { subject: subject(question.filters.clone()), status: None, filters: None };
    let wide = status.is_some().then(|| RouteChoice {
        subject: subject(others.clone()),
        status: status.clone(),
        filters: None,
    });
    let bare = (others != Filters::default()).then(|| RouteChoice {
        subject: subject(Filters::default()),
        status,
        filters: Some(others),
    });
    (own, wide, bare)
}

/// Chooses where a question is answered from.
///
/// A status filter is applied here, to rows that are known without it, if that costs no more requests than
/// reading with the filter: all statuses then share one head. Rows that are known and fresh with fewer
/// filters cost no request at all.
pub(in crate::engine) fn route(
    parts: &Parts,
    scopes: &Scopes,
    question: &Question,
    span: Span,
    now: Timestamp,
    picking: Picking,
) -> Routed {
    let dates = DateSupport::of_window(parts.settings.window);
    let scope_of = |way: &RouteChoice| match question.directives.only_if_cached {
        true => scopes.of_unread(&way.subject, dates, now),
        false => scopes.of(&way.subject, question.caller.id, &*parts.store, dates, now),
    };
    let plain = parts.policy(Membership::Fixed, question.credential.id(), question.caller);
    let view_of = |way: &RouteChoice, scope: Arc<Scope>| {
        let policy = Policy { membership: way.membership(), ..plain };
        let policy = policy.wished(&question.directives).of_scope(scope.stagger);
        let (status, filters) = (way.status.clone(), way.filters.clone());
        // Rows that are picked here are given at once, or not at all: none of them is read again for its bytes.
        let need = match &question.need {
            RowNeed::Facts if filters.is_some() => RowNeed::Bytes,
            RowNeed::Bytes | RowNeed::Facts | RowNeed::Columns(_) => question.need.clone(),
        };
        View { scope, status, filters, policy, asked_at: now, need, window: parts.settings.span_width() }
    };
    let (own, wide, bare) = ways(question);
    let bare = bare.filter(|_| picking == Picking::Here);
    let is_wide = wide.as_ref().is_some_and(|wide| {
        question.any_status.is_some() || is_better_here(parts, scopes, question, wide, span, now)
    });
    let (way, wide) = match wide {
        Some(wide) if is_wide => (wide, None),
        wide => (own, wide),
    };
    let known = |way: &RouteChoice| scopes.find(&way.subject).map(|scope| view_of(way, scope));
    let mut elsewhere =
        [wide, bare].into_iter().flatten().filter_map(|way| Some((known(&way)?, way))).peekable();
    // One more than wanted: whether there is one is part of the answer.
    let rows = question.newest.map(|newest| newest.end().saturating_add(1));
    let is_fresh_here = || known(&way).is_some_and(|view| view.is_fresh(span, rows));
    let mut otherwise = Vec::new();
    if elsewhere.peek().is_some() && !is_fresh_here() {
        for (view, way) in elsewhere {
            if view.is_fresh(span, rows) {
                return Routed { view: view_of(&way, scope_of(&way)), otherwise: Vec::new() };
            }
            otherwise.push(view);
        }
    }
    let view = view_of(&way, scope_of(&way));
    if is_wide {
        view.scope.touch_by_status(now);
    }
    let allowed = question.directives.may_be_stale_for(parts.settings.stale_while_revalidate);
    let may_be_stale = |view: &View| view.stale_span(view.up_to_present(span), allowed, rows).is_some();
    if question.directives.only_if_cached && !may_be_stale(&view) {
        let known = otherwise.iter().position(may_be_stale).map(|at| otherwise.swap_remove(at));
        return Routed { view: known.unwrap_or(view), otherwise: Vec::new() };
    }
    Routed { view, otherwise }
}

/// The most rows that are read without the filter in order to share them.
const MAX_SHARED_ROWS: usize = 60 * MAX_PAGE_SIZE;

/// Whether a question about a status is better answered from rows that are known, or will be, without the
/// filter.
///
/// Known rows decide by their cost. Unknown ones are worth reading if others ask about the same executions
/// with other status filters, or without one, and if there are not too many.
fn is_better_here(
    parts: &Parts,
    scopes: &Scopes,
    question: &Question,
    wide: &RouteChoice,
    span: Span,
    now: Timestamp,
) -> bool {
    let Some(status) = question.filters.status.as_ref().filter(|_| wide.membership() == Membership::Rows)
    else {
        return false;
    };
    let wide = &wide.subject;
    let policy = parts.plain_policy(Membership::Rows);
    let mut expected_rows = None;
    if let Some(scope) = scopes.find(wide) {
        let known = scope.lock();
        let found = known.coverage.look_for(span, &question.need);
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
