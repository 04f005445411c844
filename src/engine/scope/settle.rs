//! Puts a segment in its place among the known ones, and applies the change to the store.

use std::time::Duration;

use super::Known;
use crate::domain::{CallerId, Span, Timestamp};
use crate::engine::coverage::{CoverageChange, MadeEntry, Segment, Trust, joined};
use crate::engine::freshness::{Class, Membership, Policy};
use crate::engine::reading::Reading;
use crate::store::{ScopeKey, Store};

/// How often a new segment looks for neighbors to join: small ones may have been left alone before.
const JOINS: usize = 3;

impl Known {
    /// Puts a segment in its place, joined with small neighbors that touch it.
    ///
    /// A neighbor that is being read is not joined: it would count as new as this segment, and its read as
    /// outdated. What was cut out of a small segment to be read again is joined with the rest of it, whatever
    /// the ages. Otherwise a few rows that are read often would leave parts of pages behind, and each would
    /// cost a request to renew.
    pub(super) fn settle(
        &mut self,
        scope: ScopeKey,
        mut segment: Segment,
        reading: &Reading,
        policy: &Policy,
        change: &mut CoverageChange,
    ) {
        let now = segment.read_at;
        // Their age must not matter soon: where the place decides it does always.
        let is_young = |home: &&Segment| {
            policy.membership != Membership::Spans
                && !policy.is_past(home.read_at, policy.ttl(Class::Settled) / 2, now)
        };
        let cut: Vec<Span> =
            self.coverage.overlapping(segment.span).filter(is_young).map(|home| home.span).collect();
        self.replace(segment.span, Vec::new(), segment.latest_read_at, change);
        if segment.trust == Trust::Proven {
            let is_being_read = |span: Span| {
                let others = self.readings.iter().filter(|other| !std::ptr::eq(&***other, reading));
                others.map(|other| other.span).any(|other| other.intersection(span).is_some())
            };
            for _ in 0..JOINS {
                let (below, above) = (segment.span.from().previous(), segment.span.to().next());
                let neighbors =
                    [below, above].map(|at| self.coverage.at(at).filter(|n| !is_being_read(n.span)).cloned());
                for neighbor in neighbors.into_iter().flatten() {
                    let is_left = cut.iter().any(|home| home.covers(neighbor.span))
                        && reading.span.intersection(neighbor.span).is_none();
                    let apart = if is_left {
                        Duration::MAX
                    } else {
                        policy.place_due(segment.span.to().max(neighbor.span.to()), now, now).ttl / 16
                    };
                    segment = joined(scope, segment, &neighbor, apart, change);
                }
            }
        }
        let until = segment.latest_read_at;
        self.replace(segment.span, vec![segment], until, change);
    }

    /// Replaces what is known of a span by segments. What was read of it up to `until` is no longer true.
    pub(super) fn replace(
        &mut self,
        span: Span,
        segments: Vec<Segment>,
        until: Timestamp,
        change: &mut CoverageChange,
    ) {
        change.replaced.push((span, until));
        change.unused.extend(self.coverage.replace(span, segments));
    }

    /// Applies a change: the store keeps the entries that segments refer to and drops the others, and the
    /// spans are marked to be saved.
    pub(super) fn apply(&mut self, change: CoverageChange, store: &dyn Store, holder: CallerId) {
        if let Some(unsaved) = &mut self.unsaved {
            change.replaced.into_iter().for_each(|(span, until)| unsaved.change(span, until));
        }
        for MadeEntry { key, index, entry, before } in change.made {
            if self.coverage.uses(&key) {
                match entry {
                    Some(entry) => store.put(key, holder, entry),
                    None => store.count_index(&index),
                }
            }
            // Even if the entry is not used any more: the one that replaced it gets its columns from here.
            index.inherit_columns(before.iter().map(|index| &**index));
        }
        for key in change.unused.iter().filter(|key| !self.coverage.uses(key)) {
            store.remove(key);
        }
    }
}
