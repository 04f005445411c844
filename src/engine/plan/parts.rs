use std::time::Duration;

use crate::domain::{Span, Status, Statuses, Timestamp};
use crate::engine::coverage::CoveragePart;
use crate::engine::terms::Freshness;
use crate::source::Urgency;

/// What to do for a question.
#[derive(Debug)]
pub(in crate::engine) struct Plan {
    /// The question from its newest instant down, without overlap or gap.
    pub(in crate::engine) items: Vec<PlanItem>,
    /// The rest of the question, below these items. It is planned when more rows are needed.
    pub(in crate::engine) rest: Option<Span>,
    /// Sent before any row is given, so that the next plan has nothing sparse to read.
    pub(in crate::engine) probes: Vec<Probe>,
    /// Known parts that are served, and read again after the response; the oldest reads first.
    pub(in crate::engine) renewals: Vec<Span>,
    /// The age of the known part that expires first; `None` if nothing is known.
    pub(in crate::engine) known: Option<Freshness>,
    /// The same, including due parts: the age of a response that is served without reading.
    pub(in crate::engine) worst: Option<Freshness>,
    /// The parts of the question that were never read.
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
    /// To be read; at most as wide as the window.
    Read(Span),
}

/// Other callers who ask about the same executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum OtherCallers {
    /// None with other needs.
    None,
    /// Some ask for one status, and need all recently created rows with every head.
    ByStatus,
}

/// The statuses that probes may ask for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Probing<'a> {
    /// All but these, which appear in upstream's rows but are rejected as filters.
    AllBut(&'a [Status]),
    /// None, because the result of a probe may not be stored.
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

/// The caller that a plan is made for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct PlanContext<'a> {
    /// The statuses by which rows are filtered here.
    pub(in crate::engine) status: Option<&'a Statuses>,
    pub(in crate::engine) others: OtherCallers,
    pub(in crate::engine) probing: Probing<'a>,
}

/// The part of a question that was never read, or is not stored.
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
    /// A question that only refreshes known data precedes one that reads history.
    pub(in crate::engine) const fn urgency(self) -> Urgency {
        match self {
            Self::None | Self::Head(_) => Urgency::Refresh,
            Self::Some => Urgency::Cold,
        }
    }
}

/// A request for old rows with a filter on their status. Rows that are missing from the response have left
/// the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Probe {
    pub(in crate::engine) status: Status,
    pub(in crate::engine) span: Span,
    /// When the row that was read first was read.
    pub(in crate::engine) oldest_read_at: Timestamp,
}

/// Sorts spans newest first and joins those that overlap or touch.
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
