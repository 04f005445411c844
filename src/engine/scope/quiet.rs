use std::time::Duration;

use super::{Known, Scope};
use crate::domain::{Filters, Span, Timestamp};
use crate::engine::coverage::Trust;

/// How long before the latest reading of the present no call was created, if no call was in progress then;
/// `None` if that is unknown.
///
/// Only the scope without filters knows every call.
pub(in crate::engine) fn quiet_for(scope: &Scope) -> Option<Duration> {
    if scope.subject.filters != Filters::default() {
        return None;
    }
    let known = scope.lock();
    let head = known.head?.to;
    Some(head.since(latest_call(&known, Span::new(Timestamp::MIN, head)?)?))
}

/// When the latest call was created, or where the known part without a gap ends.
fn latest_call(known: &Known, up_to_head: Span) -> Option<Timestamp> {
    let (mut below, mut latest) = (up_to_head.to().next(), None);
    for segment in known.coverage.overlapping(up_to_head) {
        // A row without a date may be of any time.
        if segment.has_unfinished() || segment.trust == Trust::Indivisible {
            return None;
        }
        if latest.is_some() {
            continue;
        }
        if segment.span.to().next() < below {
            latest = Some(below);
            continue;
        }
        below = segment.span.from();
        latest = segment.facts().map(|rows| rows.at(0).created_at);
    }
    Some(latest.unwrap_or(below))
}
