use std::time::Duration;

use crate::domain::{Span, Status, Statuses, Timestamp};
use crate::engine::coverage::CoveragePart;
use crate::engine::terms::Freshness;
use crate::source::Urgency;

/// What to do for a question.
#[derive(Debug)]
pub(in crate::engine) struct Plan {
    /// The question from its newest instant down, without overlap and without a hole.
    pub(in crate::engine) items: Vec<PlanItem>,
    /// What of the question lies below these, and is planned when more of its rows are needed.
    pub(in crate::engine) rest: Option<Span>,
    /// To be asked before anything is given, so that the plan made afterwards has nothing sparse to read.
    pub(in crate::engine) probes: Vec<Probe>,
    /// Known and given, and to be read again behind the answer; longest unread first.
    pub(in crate::engine) renewals: Vec<Span>,
    /// How old what is known is, of the part that expires first; none if nothing is known.
    pub(in crate::engine) known: Option<Freshness>,
    /// The same, of what is due as well: how old an answer is that is given without reading.
    pub(in crate::engine) worst: Option<Freshness>,
    /// Whether there is nothing that was never read.
    pub(in crate::engine) gaps: Gaps,
}

impl Plan {
    /// Whether everything is known and fresh enough.
    pub(in crate::engine) fn reads_nothing(&self) -> bool {
        self.probes.is_empty() && !self.items.iter().any(|item| matches!(item, PlanItem::Read(_)))
    }
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum PlanItem {
    /// Known and fresh enough.
    Known(Span),
    /// To be read; no wider than the window.
    Read(Span),
}

/// Who else asks about the same executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum OtherCallers {
    /// Nobody whose wishes differ.
    None,
    /// Somebody who asks for one status, and needs all that was created lately with every head.
    ByStatus,
}

/// Which statuses probes may ask for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Probing<'a> {
    /// All but these, which upstream writes into rows and takes for no filter.
    AllBut(&'a [Status]),
    /// None: what a probe brings is of use only if it may be kept.
    Never,
}

impl Probing<'_> {
    pub(super) fn allows(self, status: &Status) -> bool {
        match self {
            Self::AllBut(refused) => !refused.contains(status),
            Self::Never => false,
        }
    }
}

/// For whom a plan is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct PlanContext<'a> {
    /// The statuses that rows are filtered by here.
    pub(in crate::engine) status: Option<&'a Statuses>,
    pub(in crate::engine) others: OtherCallers,
    pub(in crate::engine) probing: Probing<'a>,
}

/// What of the question was never read, or is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Gaps {
    /// Nothing.
    None,
    /// Only its newest part, from this instant on.
    Head(Timestamp),
    /// More than that.
    Some,
}

impl Gaps {
    /// A question that only brings up to date what is known goes before one that reads history.
    pub(in crate::engine) const fn urgency(self) -> Urgency {
        match self {
            Self::None | Self::Head(_) => Urgency::Refresh,
            Self::Some => Urgency::Cold,
        }
    }
}

/// A question about old rows under the filter of their status. Those it does not bring have left the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Probe {
    pub(in crate::engine) status: Status,
    pub(in crate::engine) span: Span,
    /// When the row of it that was read first was read.
    pub(in crate::engine) oldest_read_at: Timestamp,
}

/// Spans sorted newest first, with those that overlap or touch made one.
pub(super) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| std::cmp::Reverse(span.to()));
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(above) if above.from() <= span.to().next() => *above = above.union(span),
            _ => merged.push(span),
        }
    }
    merged
}

pub(super) fn items(span: Span, reads: Vec<Span>, window: Duration) -> Vec<PlanItem> {
    let mut items = Vec::new();
    let mut rest = Some(span);
    for read in reads.into_iter().filter_map(|read| read.intersection(span)) {
        let Some(left) = rest else { break };
        items.extend(left.after(read.to()).map(PlanItem::Known));
        items.extend(read.split(window).into_iter().map(PlanItem::Read));
        rest = left.before(read.from());
    }
    items.extend(rest.map(PlanItem::Known));
    items
}

pub(super) fn gaps(span: Span, parts: &[CoveragePart<'_>]) -> Gaps {
    let is_gap = |part: &CoveragePart<'_>| matches!(part, CoveragePart::Gap(_));
    match parts.split_first() {
        Some((head, rest)) if !rest.iter().any(is_gap) => match head {
            CoveragePart::Known(_) => Gaps::None,
            CoveragePart::Gap(gap) if !rest.is_empty() || gap.from() > span.from() => Gaps::Head(gap.from()),
            CoveragePart::Gap(_) => Gaps::Some,
        },
        _ => Gaps::Some,
    }
}
