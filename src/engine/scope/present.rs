use super::Scope;
use crate::domain::Timestamp;
use crate::engine::freshness::{Class, Policy};

/// The present of an answer, which is the latest instant that it covers.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Present {
    /// The instant, by upstream's clock.
    pub(in crate::engine) to: Timestamp,
    /// When that was the present, by our clock, if known. Rows up to it that are read later are no younger.
    pub(in crate::engine) pinned_at: Option<Timestamp>,
}

/// The present that a question shares with others: the end of the latest reading that reached it, if that is
/// fresh enough or in progress. Questions between two such readings then cost no request for the head.
pub(in crate::engine) fn known_present(scope: &Scope, policy: &Policy, now: Timestamp) -> Option<Present> {
    let known = scope.lock();
    let latest = known.head.map(|head| Present { to: head.to, pinned_at: Some(head.read_at) });
    let coming = known
        .readings
        .iter()
        .filter(|reading| reading.head_pinned_at.is_some() && reading.is_open())
        .map(|reading| Present { to: reading.span.to(), pinned_at: reading.head_pinned_at });
    let is_fresh = |present: &Present| {
        present.pinned_at.is_some_and(|at| !policy.is_past(at, policy.ttl(Class::Live), now))
    };
    latest.into_iter().chain(coming).filter(is_fresh).max_by_key(|present| present.to)
}
