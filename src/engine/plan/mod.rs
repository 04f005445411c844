//! Decides what to read for a question, given what is known. Pure, and computed under the scope's lock
//! without waiting.
//!
//! Four things are read: gaps; rows past the age at which they may be served; rows that may have changed; and
//! the head, which is just another gap. The places of rows that may have changed are known, so they are
//! covered by spans of at most a page of known rows each; the newest are read together with the head. Gaps
//! with little known between them are read as one (see [`join`]). Old rows that never finished are too far
//! apart for that. They are requested together, filtered by their status, and a row that is missing from the
//! response has changed (see [`Probe`]).
//!
//! Settled rows past their time to live are served and marked for renewal in the background. Rows that are
//! read on their own account come due by the stagger of their place, so that a history that was read at once
//! is not due at once.

mod cover;
mod depth;
mod join;
mod judge;
mod parts;
mod renewals;
mod survey;

use std::time::Duration;

use super::coverage::CoveragePart;
use super::freshness::Policy;
use crate::domain::{Span, Timestamp};

pub(super) use self::depth::newest_part;
pub(super) use self::judge::{expected_rows, is_cheaper_here, may_be_stale};
pub(super) use self::parts::{Gaps, OtherCallers, Plan, PlanContext, PlanItem, Probe, Probing};
use self::survey::Survey;

/// Plans a span from what was found there ([`super::coverage::Coverage::look`]).
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

#[cfg(test)]
mod tests;
