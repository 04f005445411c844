//! What to read for a question, given what is known: pure, and made under the scope's lock without waiting.
//!
//! Four things are read, and nothing else: gaps; what is past the age at which it may be given; rows that may have
//! changed; and the head, which is just another gap. Rows that may have changed lie at known places, so they are
//! covered by spans of at most a page of known rows each, and the newest of them ride along with the head. Old rows
//! that never finished lie too far apart for that: they are asked for together, under the filter of their status,
//! and whoever does not answer to it has changed (see [`Probe`]).
//!
//! Settled rows past their time to live are given, and named for renewal behind the answer. What is read for its own
//! sake goes by the beat of its place, so that a history read in one go does not become due in one go.

mod cover;
mod depth;
mod judge;
mod renewals;
mod survey;

use std::time::Duration;

use super::coverage::CoveragePart;
use super::freshness::Policy;
use super::terms::Freshness;
use crate::domain::{Span, Status, Statuses, Timestamp};
use crate::source::Urgency;

pub(super) use self::depth::newest_part;
pub(super) use self::judge::{expected_rows, is_cheaper_here, may_be_stale};
use self::survey::Survey;

/// What to do for a question.
#[derive(Debug)]
pub(super) struct Plan {
    /// The question from its newest instant down, without overlap and without a hole.
    pub(super) items: Vec<PlanItem>,
    /// What of the question lies below these, and is planned when more of its rows are needed.
    pub(super) rest: Option<Span>,
    /// To be asked before anything is given, so that the plan made afterwards has nothing sparse to read.
    pub(super) probes: Vec<Probe>,
    /// Known and given, and to be read again behind the answer; longest unread first.
    pub(super) renewals: Vec<Span>,
    /// How old what is known is, of the part that expires first; none if nothing is known.
    pub(super) known: Option<Freshness>,
    /// The same, of what is due as well: how old an answer is that is given without reading.
    pub(super) worst: Option<Freshness>,
    /// Whether there is nothing that was never read.
    pub(super) gaps: Gaps,
}

impl Plan {
    /// Whether everything is known and fresh enough.
    pub(super) fn reads_nothing(&self) -> bool {
        self.probes.is_empty() && !self.items.iter().any(|item| matches!(item, PlanItem::Read(_)))
    }
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanItem {
    /// Known and fresh enough.
    Known(Span),
    /// To be read; no wider than the window.
    Read(Span),
}

/// Who else asks about the same executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherCallers {
    /// Nobody whose wishes differ.
    None,
    /// Somebody who asks for one status, and needs all that was created lately with every head.
    ByStatus,
}

/// Which statuses probes may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probing<'a> {
    /// All but these, which upstream writes into rows and takes for no filter.
    AllBut(&'a [Status]),
    /// None: what a probe brings is of use only if it may be kept.
    Never,
}

impl Probing<'_> {
    fn allows(self, status: &Status) -> bool {
        match self {
            Self::AllBut(refused) => !refused.contains(status),
            Self::Never => false,
        }
    }
}

/// For whom a plan is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanContext<'a> {
    /// The statuses that rows are filtered by here.
    pub(super) status: Option<&'a Statuses>,
    pub(super) others: OtherCallers,
    pub(super) probing: Probing<'a>,
}

/// What of the question was never read, or is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Nothing.
    None,
    /// Only its newest part, from this instant on.
    Head(Timestamp),
    /// More than that.
    Some,
}

impl Gaps {
    /// A question that only brings up to date what is known goes before one that reads history.
    pub(super) const fn urgency(self) -> Urgency {
        match self {
            Self::None | Self::Head(_) => Urgency::Refresh,
            Self::Some => Urgency::Cold,
        }
    }
}

/// A question about old rows under the filter of their status. Those it does not bring have left the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) status: Status,
    pub(super) span: Span,
    /// When the row of it that was read first was read.
    pub(super) oldest_read_at: Timestamp,
}

/// Makes the plan for a span from what was found there ([`super::coverage::Coverage::look`]).
pub(super) fn plan(
    parts: &[CoveragePart<'_>],
    span: Span,
    policy: &Policy,
    context: PlanContext<'_>,
    now: Timestamp,
    window: Duration,
) -> Plan {
    let mut survey = Survey::new(policy, context, now, window);
    for part in parts {
        match part {
            CoveragePart::Gap(gap) => survey.gap(*gap),
            CoveragePart::Known(segment) => survey.segment(segment, span),
        }
    }
    survey.finish(span, parts)
}

/// Spans sorted newest first, with those that overlap or touch made one.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
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

fn items(span: Span, reads: Vec<Span>, window: Duration) -> Vec<PlanItem> {
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

fn gaps(span: Span, parts: &[CoveragePart<'_>]) -> Gaps {
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

#[cfg(test)]
mod tests;
