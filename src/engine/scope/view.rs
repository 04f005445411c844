use std::sync::Arc;
use std::time::Duration;

use super::{Known, Scope, known_present};
use crate::domain::{EntryRow, EntryRows, EntrySlice, FilterMatch, Filters, Span, Statuses, Timestamp};
use crate::engine::coverage::{CoveragePart, Segment};
use crate::engine::freshness::{Class, Policy};
use crate::engine::plan::{self, OtherCallers, Plan, PlanContext, Probing};
use crate::engine::terms::RowNeed;

/// A scope as one question sees it: which of its rows count, and how old they may be.
#[derive(Clone)]
pub(in crate::engine) struct View {
    pub(in crate::engine) scope: Arc<Scope>,
    /// The statuses that are selected here.
    pub(in crate::engine) status: Option<Statuses>,
    /// The other filters that are applied here. The answer then consists of known rows only.
    pub(in crate::engine) filters: Option<Filters>,
    pub(in crate::engine) policy: Policy,
    pub(in crate::engine) asked_at: Timestamp,
    /// What the question needs of known rows.
    pub(in crate::engine) need: RowNeed,
    /// The widest span that is requested from upstream.
    pub(in crate::engine) window: Duration,
}

impl View {
    /// The plan for a span, as far down as this many rows need.
    pub(in crate::engine) fn plan(&self, span: Span, rows: Option<u64>, probing: Probing<'_>) -> Plan {
        let known = self.scope.lock();
        self.plan_of(&known, span, rows, probing)
    }

    /// The same under the scope's lock, because copying ten thousand segments would take longer than
    /// planning.
    fn plan_of(&self, known: &Known, span: Span, rows: Option<u64>, probing: Probing<'_>) -> Plan {
        let others = match self.scope.is_asked_by_status(self.asked_at) {
            true => OtherCallers::ByStatus,
            false => OtherCallers::None,
        };
        let plan_context = PlanContext { status: self.status.as_ref(), others, probing };
        let top = self.top(known, span, rows);
        let found = known.coverage.look_for(top, &self.need);
        let plan = plan::plan(&found, top, &self.policy, plan_context, self.asked_at, self.window);
        Plan { rest: span.before(top.from()), ..plan }
    }

    /// The top of a span that has to be looked at for this many rows.
    fn top(&self, known: &Known, span: Span, rows: Option<u64>) -> Span {
        // How many rows pass other filters is not counted.
        rows.filter(|_| !self.picks()).map_or(span, |rows| {
            plan::newest_part(&known.coverage, span, rows, self.status.as_ref(), &self.need, self.window)
        })
    }

    /// A span that reaches the present, cut at the present that this scope shares.
    pub(in crate::engine) fn up_to_present(&self, span: Span) -> Span {
        let present = known_present(&self.scope, &self.policy, self.asked_at);
        present.and_then(|present| Span::new(span.from(), span.to().min(present.to))).unwrap_or(span)
    }

    /// Whether this many of the newest rows of a span, or all, are known and fresh enough to be served
    /// without a request.
    pub(in crate::engine) fn is_fresh(&self, span: Span, rows: Option<u64>) -> bool {
        let span = self.up_to_present(span);
        let known = self.scope.lock();
        let is_gap = |part: &CoveragePart<'_>| matches!(part, CoveragePart::Gap(_));
        // Most of what is not fresh lacks its head: then nothing has to be planned.
        let has_head = !known.coverage.look_for(Span::at(span.to()), &self.need).iter().any(is_gap);
        has_head
            && self.plan_of(&known, span, rows, Probing::Never).reads_nothing()
            && self.decides_all(&known, span)
    }

    /// The part of a span that may be served this long past its freshness: all of it, or all up to the latest
    /// reading that reached the present. If the question wants a number of rows, only those must be known.
    pub(in crate::engine) fn stale_span(
        &self,
        span: Span,
        allowance: Duration,
        rows: Option<u64>,
    ) -> Option<Span> {
        if allowance.is_zero() {
            return None;
        }
        let known = self.scope.lock();
        let head = known.head.filter(|head| head.to < span.to());
        // What it brought may have been read long after its present.
        let ttl = self.policy.ttl(Class::Live).saturating_add(allowance);
        if head.is_some_and(|head| self.policy.is_past(head.read_at, ttl, self.asked_at)) {
            return None;
        }
        let span = head.map_or(Some(span), |head| Span::new(span.from(), head.to))?;
        let top = self.top(&known, span, rows);
        let found = known.coverage.look_for(top, &self.need);
        let may_be_stale = plan::may_be_stale(&found, &self.policy, self.asked_at, allowance);
        (may_be_stale && self.decides_all(&known, span)).then_some(span)
    }

    /// Whether a row must be read again before it is served to this question.
    pub(in crate::engine) fn is_due(&self, row: &EntryRow<'_>) -> bool {
        self.policy.due(row, self.asked_at).latest < self.asked_at
    }

    /// The rows of a slice that the question is about.
    pub(in crate::engine) fn filtered(&self, slice: EntrySlice, within: Span) -> Option<EntrySlice> {
        if self.status.is_none() && !self.picks() && slice.is_within(within) {
            return Some(slice);
        }
        slice.filtered(|row| within.contains(row.created_at) && self.match_of(row) == FilterMatch::Yes)
    }

    /// Whether filters other than the status filter are applied here.
    pub(in crate::engine) const fn picks(&self) -> bool {
        self.filters.is_some()
    }

    /// Whether what is known about these rows decides which of them the question is about.
    pub(in crate::engine) fn decides(&self, slice: &EntrySlice, within: Span) -> bool {
        !self.picks() || slice.rows().all(|row| self.decides_row(&row, within))
    }

    fn decides_all(&self, known: &Known, span: Span) -> bool {
        let decides = |rows: EntryRows<'_>| rows.iter().all(|row| self.decides_row(&row, span));
        !self.picks() || known.coverage.overlapping(span).filter_map(Segment::facts).all(decides)
    }

    fn decides_row(&self, row: &EntryRow<'_>, within: Span) -> bool {
        !within.contains(row.created_at) || self.match_of(row) != FilterMatch::Unknown
    }

    fn match_of(&self, row: &EntryRow<'_>) -> FilterMatch {
        if self.status.as_ref().is_some_and(|statuses| !statuses.has(row.status)) {
            return FilterMatch::No;
        }
        self.filters.as_ref().map_or(FilterMatch::Yes, |filters| filters.match_of(&row.facts()))
    }
}
