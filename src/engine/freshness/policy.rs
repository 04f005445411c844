//! How old a row may get: the promises per row, as pure functions of a row, a policy and the time.
//!
//! A row's class follows from its status and its last change. Under a filter on something that changes, rows enter and
//! leave the result, so the *place* counts as well: rows that were created recently are read more often, whatever their
//! status. Nothing here reads a clock; `now` is always an argument.

use std::time::Duration;

use super::stagger::Stagger;
use crate::domain::{EntryRow, Timestamp};
use crate::engine::terms::{CacheDirectives, EngineSettings};

/// The times to live that hold for one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Policy {
    pub(in crate::engine) live: Duration,
    pub(in crate::engine) settling: Duration,
    pub(in crate::engine) settled: Duration,
    pub(in crate::engine) settle_after: Duration,
    pub(in crate::engine) membership: Membership,
    /// Sets apart when places come due that were read together.
    pub(in crate::engine) stagger: Stagger,
    /// How far the clock that rows are dated with is ahead of the one that ages are measured with, in whole minutes: that
    /// much a clock that was wrong at the start is off.
    pub(in crate::engine) minutes_ahead: i64,
}

/// Whether rows may enter and leave the answer while they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Membership {
    /// A row that belongs to the answer belongs to it for as long as it exists.
    Fixed,
    /// The filter names something that changes, and is applied here, to rows known whatever their state: a row
    /// that enters is one whose state was known to be another.
    Rows,
    /// The filter names something that changes, and is applied by upstream: a row that enters was not known here,
    /// so it may be anywhere.
    Spans,
}

/// Within this stretch before now, a filter on what changes is kept to the settling time to live.
const RECENT: Duration = Duration::from_hours(7 * 24);

/// The longest time to live in seconds, some 30 years: none is stretched beyond.
const LONGEST: f64 = 1e9;

/// In microseconds.
const MINUTE: i64 = 60_000_000;

/// A row that did not change for a time *t* is read again after a twentieth of it.
const PATIENCE: u32 = 20;

impl Policy {
    /// The times to live that are set.
    pub(in crate::engine) fn of(settings: &EngineSettings, membership: Membership) -> Self {
        Self {
            live: settings.live_ttl,
            settling: settings.settling_ttl,
            settled: settings.settled_ttl,
            settle_after: settings.settle_after,
            membership,
            stagger: Stagger::default(),
            minutes_ahead: 0,
        }
    }

    /// The policy for a question with this wish: `max-age` lowers the live and the settling time to live, and never
    /// the settled one, because browsers send `max-age=0` at every reload; `min-fresh` is taken off all of them.
    #[must_use]
    pub(in crate::engine) fn wished(self, directives: &CacheDirectives) -> Self {
        let lasting = |ttl: Duration| ttl.saturating_sub(directives.min_fresh.unwrap_or_default());
        let lowered = |ttl: Duration| lasting(directives.max_age.map_or(ttl, |max| ttl.min(max)));
        let settled = lasting(self.settled);
        Self { live: lowered(self.live), settling: lowered(self.settling), settled, ..self }
    }

    /// With all times to live longer by one factor, which is not less than 1.
    #[must_use]
    pub(in crate::engine) fn stretched(self, factor: f64) -> Self {
        if factor <= 1.0 {
            return self;
        }
        let longer = |ttl: Duration| Duration::from_secs_f64((ttl.as_secs_f64() * factor).min(LONGEST));
        Self {
            live: longer(self.live),
            settling: longer(self.settling),
            settled: longer(self.settled),
            ..self
        }
    }

    /// The same for a scope, whose places have beats of their own.
    #[must_use]
    pub(in crate::engine) fn of_scope(self, stagger: Stagger) -> Self {
        Self { stagger, ..self }
    }

    /// The same where upstream's clock is ahead of ours.
    #[must_use]
    pub(in crate::engine) const fn with_upstream_ahead(self, micros: i64) -> Self {
        Self { minutes_ahead: micros / MINUTE, ..self }
    }

    /// An instant of the clock that ages are measured with, on the clock that rows are dated with.
    pub(in crate::engine) const fn dated(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(now.as_micros().saturating_add(self.minutes_ahead.saturating_mul(MINUTE)))
    }

    /// The instant before which a row that does not change any more has settled.
    pub(in crate::engine) fn settles_before(&self, now: Timestamp) -> Timestamp {
        self.dated(now).minus(self.settle_after)
    }

    /// How old this row may get.
    pub(in crate::engine) fn row_ttl(&self, row: &EntryRow, now: Timestamp) -> Duration {
        let by_row = if !row.is_dated {
            self.live
        } else if row.status.as_ref().is_some_and(crate::domain::Status::is_terminal) {
            if self.dated(now).since(row.changed_at) > self.settle_after {
                self.settled
            } else {
                self.settling
            }
        } else {
            let unchanged = self.dated(row.read_at).since(row.changed_at);
            self.live.max(unchanged / PATIENCE).min(self.settling.max(self.live))
        };
        by_row.min(self.place_ttl(row.created_at, now))
    }

    /// How old the knowledge may get of which rows there are at an instant.
    pub(in crate::engine) fn place_ttl(&self, created_at: Timestamp, now: Timestamp) -> Duration {
        match self.membership {
            Membership::Fixed => self.settled,
            Membership::Rows | Membership::Spans => {
                let age = self.dated(now).since(created_at);
                if age <= self.settle_after {
                    self.live
                } else if age <= RECENT {
                    self.settling
                } else {
                    self.settled
                }
            }
        }
    }

    /// When a row that was read then, and may get that old, is read again.
    ///
    /// What may change any moment waits for its whole time to live, because it rides along with the head; what has more
    /// time goes by the beat of its scope, together.
    pub(in crate::engine) fn due_at(&self, row: &EntryRow, ttl: Duration) -> Timestamp {
        // Where a request lowers both times to one, all of it rides along with the head.
        if ttl == self.settling && ttl > self.live {
            self.stagger.due_at(row.read_at, ttl)
        } else {
            row.read_at.plus(self.hard(ttl))
        }
    }

    /// When a settled part that was read then is renewed behind the answers: on the first beat of its place that comes a
    /// good while after, and so between 0.2 and 1.95 of the settled time to live. Beyond twice that it would be read
    /// before answering.
    pub(in crate::engine) fn renewed_at(&self, place: Timestamp, read_at: Timestamp) -> Timestamp {
        self.stagger.at(place).after(read_at.plus(self.renewed_early()), self.settled * 7 / 4)
    }

    /// How long before its time a settled part may be renewed as well, if its neighbor is: then the time that comes is
    /// passed over.
    pub(in crate::engine) fn renewed_early(&self) -> Duration {
        self.settled / 5
    }

    /// Whether something read then is past its time to live.
    #[expect(clippy::unused_self, reason = "reads as a question to the policy")]
    pub(in crate::engine) fn is_past(&self, read_at: Timestamp, ttl: Duration, now: Timestamp) -> bool {
        read_at.plus(ttl) < now
    }

    /// The age at which something must be read before it is given. The settled time to live is an aim: up to twice
    /// that long a row is given at once and renewed behind the answer.
    pub(in crate::engine) fn hard(&self, ttl: Duration) -> Duration {
        if ttl == self.settled && ttl > self.settling { ttl * 2 } else { ttl }
    }

    /// The instant before which every place has the settled time to live, under a filter on what changes.
    pub(in crate::engine) fn calm_before(&self, now: Timestamp) -> Timestamp {
        self.dated(now).minus(RECENT.max(self.settle_after))
    }

    /// The instants at which the time to live of a place changes, newest first.
    pub(in crate::engine) fn boundaries(&self, now: Timestamp) -> [Timestamp; 2] {
        [self.settles_before(now).previous(), self.calm_before(now).previous()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, Entry, NewRow, Row, Status};

    const DAY: Duration = Duration::from_hours(24);

    fn policy(membership: Membership) -> Policy {
        Policy {
            live: Duration::from_secs(10),
            settling: Duration::from_secs(120),
            settled: DAY,
            settle_after: Duration::from_hours(3),
            membership,
            stagger: Stagger::default(),
            minutes_ahead: 0,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    fn row(status: &str, created: Duration, changed: Duration) -> EntryRow {
        let row = Row {
            id: "a".into(),
            created_at: Some(now().minus(created)),
            updated_at: Some(now().minus(changed)),
            status: Some(Status::new(status)),
            bytes: "{}".into(),
        };
        let new = NewRow { created_at: now().minus(created), row, read_at: now(), digest: Digest(1) };
        Entry::new(&[new]).rows()[0].clone()
    }

    fn ttl(membership: Membership, row: &EntryRow) -> u64 {
        policy(membership).row_ttl(row, now()).as_secs()
    }

    #[test]
    fn a_row_at_rest_is_settled_and_one_that_changed_lately_is_settling() {
        let fixed = Membership::Fixed;
        assert_eq!(ttl(fixed, &row("completed", DAY, DAY)), 86_400);
        assert_eq!(ttl(fixed, &row("completed", DAY, Duration::from_secs(60))), 120);
        assert_eq!(ttl(fixed, &row("no-answer", Duration::from_hours(1), Duration::from_hours(1))), 120);
    }

    #[test]
    fn a_live_row_is_read_less_often_the_longer_it_does_not_change() {
        let fixed = Membership::Fixed;
        let unchanged = |secs| ttl(fixed, &row("in-progress", DAY, Duration::from_secs(secs)));
        assert_eq!(unchanged(5), 10);
        assert_eq!(unchanged(1_000), 50);
        assert_eq!(unchanged(80_000), 120);
        assert_eq!(ttl(fixed, &row("call-disconnected", DAY, Duration::from_secs(1))), 10);
    }

    #[test]
    fn a_filter_on_what_changes_goes_by_the_place() {
        let changing = Membership::Rows;
        assert_eq!(ttl(changing, &row("completed", Duration::from_hours(1), Duration::from_hours(1))), 10);
        assert_eq!(ttl(changing, &row("completed", 5 * DAY, 5 * DAY)), 120);
        assert_eq!(ttl(changing, &row("completed", 9 * DAY, 9 * DAY)), 86_400);
        assert_eq!(ttl(changing, &row("in-progress", 9 * DAY, 9 * DAY)), 120);
    }

    #[test]
    fn only_what_is_settled_may_be_given_up_to_twice_its_time() {
        let policy = policy(Membership::Fixed);
        assert_eq!(policy.hard(policy.settled), 2 * DAY);
        assert_eq!(policy.hard(policy.settling), policy.settling);
        let always =
            Policy { settled: Duration::ZERO, settling: Duration::ZERO, live: Duration::ZERO, ..policy };
        assert_eq!(always.hard(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn what_must_stay_fresh_for_a_while_is_read_that_much_earlier() {
        let directives =
            CacheDirectives { min_fresh: Some(Duration::from_secs(4)), ..CacheDirectives::default() };
        let wished = policy(Membership::Fixed).wished(&directives);
        assert_eq!((wished.live.as_secs(), wished.settling.as_secs()), (6, 116));
    }

    #[test]
    fn a_wish_never_touches_what_is_settled() {
        let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
        let wished = policy(Membership::Fixed).wished(&directives);
        assert_eq!((wished.live, wished.settling, wished.settled), (Duration::ZERO, Duration::ZERO, DAY));
    }
}
