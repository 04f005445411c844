//! Puts a segment in its place among those known.

use std::time::Duration;

use super::Known;
use crate::domain::{Span, Timestamp};
use crate::engine::coverage::{Segment, Trust, joined};
use crate::engine::freshness::{Class, Membership, Policy};
use crate::engine::reading::Reading;
use crate::store::{EntryKey, EntryOwner, Store};

/// How often a segment that takes its place looks for neighbors to join: small ones may have been left alone before.
const JOINS: usize = 3;

impl Known {
    /// Puts a segment in its place, joined with small neighbors that touch it.
    ///
    /// A neighbor that is being read is left alone: joined, it would pass for as new as this segment, and what is
    /// being read of it for outdated. What was cut out of a small segment to be read again goes back to what is left of it,
    /// whatever the ages: else a few rows that are read often would leave pieces of pages behind, and each would cost a
    /// request to renew.
    pub(super) fn settle(
        &mut self,
        owner: EntryOwner,
        store: &dyn Store,
        mut segment: Segment,
        reading: &Reading,
        policy: &Policy,
    ) {
        let now = segment.read_at;
        // Their age must not matter soon: where the place decides it does always.
        let is_young = |home: &&Segment| {
            policy.membership != Membership::Spans
                && !policy.is_past(home.read_at, policy.ttl(Class::Settled) / 2, now)
        };
        let cut: Vec<Span> =
            self.coverage.overlapping(segment.span).filter(is_young).map(|home| home.span).collect();
        self.replace(store, segment.span, Vec::new(), segment.latest_read_at);
        if segment.trust == Trust::Proven {
            let is_being_read = |span: Span| {
                let others = self.readings.iter().filter(|other| !std::ptr::eq(&***other, reading));
                others.map(|other| other.span).any(|other| other.intersection(span).is_some())
            };
            // The entry made for the last join, which the next join leaves behind.
            let mut made: Option<EntryKey> = None;
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
                    let before = segment.key();
                    segment = joined(owner, store, segment, &neighbor, apart);
                    if segment.key() != before {
                        if let Some(left) = made.take() {
                            store.remove(&left);
                        }
                        made = segment.key().filter(|key| neighbor.key() != Some(*key));
                    }
                }
            }
        }
        let until = segment.latest_read_at;
        self.replace(store, segment.span, vec![segment], until);
    }

    /// Puts segments in the place of what was known of a span, which nobody may take for true any more if it was read until an
    /// instant.
    pub(super) fn replace(
        &mut self,
        store: &dyn Store,
        span: Span,
        segments: Vec<Segment>,
        until: Timestamp,
    ) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.change(span, until);
        }
        for key in self.coverage.replace(span, segments) {
            store.remove(&key);
        }
    }
}
