//! How long a row stays fresh, as pure functions of a row, a policy and the time.
//!
//! A row's class follows from its status and its last change. With a filter on something that changes, rows
//! enter and leave the result, so the *place* counts as well: recently created rows are read more often,
//! whatever their status. Nothing here reads a clock; `now` is always an argument.

use std::time::Duration;

use super::stagger::Stagger;
use crate::domain::{EntryRow, Timestamp};
use crate::engine::terms::{CacheDirectives, EngineSettings};

/// The times to live for one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Policy {
    pub(in crate::engine) live: Duration,
    pub(in crate::engine) settling: Duration,
    pub(in crate::engine) settled: Duration,
    /// The request's limit on the live and the settling time to live.
    pub(in crate::engine) max_age: Option<Duration>,
    /// How long a response must stay fresh.
    pub(in crate::engine) min_fresh: Duration,
    pub(in crate::engine) settle_after: Duration,
    pub(in crate::engine) membership: Membership,
    /// Staggers the due times of places that were read together.
    pub(in crate::engine) stagger: Stagger,
    /// How far the clock that dates rows is ahead of the clock that measures ages, in whole minutes: the
    /// error of a clock that was wrong at the start.
    pub(in crate::engine) minutes_ahead: i64,
}

/// How soon a row may change, or rows may enter and leave a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Class {
    /// At any moment.
    Live,
    /// Soon: it became terminal recently, or has not changed for long.
    Settling,
    /// Rarely.
    Settled,
}

/// How long data that was read stays fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Due {
    pub(in crate::engine) class: Class,
    /// The target for its maximum age.
    pub(in crate::engine) ttl: Duration,
    /// When it is due to be read again.
    pub(in crate::engine) at: Timestamp,
    /// When it may be served for the last time.
    pub(in crate::engine) latest: Timestamp,
}

/// Whether existing rows may enter and leave the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Membership {
    /// A row stays in the result for as long as it exists.
    Fixed,
    /// The filter names something that changes and is applied here, to rows that are known in every state:
    /// the earlier state of a row that enters is known.
    Rows,
    /// The filter names something that changes and is applied by upstream: a row that enters was unknown
    /// here, so it may be anywhere.
    Spans,
}

/// For rows created within this time before now, a filter on something that changes uses the settling time to
/// live.
const RECENT: Duration = Duration::from_hours(7 * 24);

/// The longest time to live in seconds, about 30 years: none is stretched beyond it.
const LONGEST: f64 = 1e9;

/// In microseconds.
const MINUTE: i64 = 60_000_000;

/// A row that has not changed for a time *t* is read again after a twentieth of *t*.
const PATIENCE: u32 = 20;

impl Policy {
    /// The times to live in the settings.
    pub(in crate::engine) fn of(settings: &EngineSettings, membership: Membership) -> Self {
        Self {
            live: settings.live_ttl,
            settling: settings.settling_ttl,
            settled: settings.settled_ttl,
            max_age: None,
            min_fresh: Duration::ZERO,
            settle_after: settings.settle_after,
            membership,
            stagger: Stagger::default(),
            minutes_ahead: 0,
        }
    }

    /// The policy for a question with these directives. `max-age` lowers the live and the settling time to
    /// live, but never the settled one, because browsers send `max-age=0` with every reload. `min-fresh` is
    /// subtracted from all of them.
    #[must_use]
    pub(in crate::engine) fn wished(self, directives: &CacheDirectives) -> Self {
        let min_fresh = directives.min_fresh.unwrap_or_default();
        Self { max_age: directives.max_age, min_fresh, ..self }
    }

    /// The maximum age of data of a class. Two classes may have the same, so it does not identify the class.
    pub(in crate::engine) fn ttl(&self, class: Class) -> Duration {
        match class {
            Class::Live => self.lowered(self.live),
            Class::Settling => self.lowered(self.settling),
            Class::Settled => self.settled.saturating_sub(self.min_fresh),
        }
    }

    fn lowered(&self, ttl: Duration) -> Duration {
        self.max_age.map_or(ttl, |max| ttl.min(max)).saturating_sub(self.min_fresh)
    }

    /// The policy with all times to live multiplied by a factor of at least 1.
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

    /// The policy for a place where no call is in progress, and where none was created for a while before the
    /// latest read. As with a row that does not change, nothing is expected to happen for a twentieth of that
    /// while.
    #[must_use]
    pub(in crate::engine) fn of_quiet(self, quiet_for: Duration) -> Self {
        Self { live: (quiet_for / PATIENCE).min(self.settling).max(self.live), ..self }
    }

    /// The policy for a scope, whose places have due times of their own.
    #[must_use]
    pub(in crate::engine) fn of_scope(self, stagger: Stagger) -> Self {
        Self { stagger, ..self }
    }

    /// The policy for an upstream whose clock is ahead of ours.
    #[must_use]
    pub(in crate::engine) const fn with_upstream_ahead(self, micros: i64) -> Self {
        Self { minutes_ahead: micros / MINUTE, ..self }
    }

    /// Converts an instant from the clock that measures ages to the clock that dates rows.
    pub(in crate::engine) const fn dated(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(now.as_micros().saturating_add(self.minutes_ahead.saturating_mul(MINUTE)))
    }

    /// Rows that have not changed since this instant, and will not change any more, are settled.
    pub(in crate::engine) fn settles_before(&self, now: Timestamp) -> Timestamp {
        self.dated(now).minus(self.settle_after)
    }

    /// How long a row stays fresh. A doubted one is due at once.
    pub(in crate::engine) fn due(&self, row: &EntryRow<'_>, now: Timestamp) -> Due {
        if row.is_doubted {
            let (class, ttl) = (Class::Live, Duration::ZERO);
            return Due { class, ttl, at: row.read_at, latest: row.read_at };
        }
        let (class, ttl) = self.row_class(row, now);
        let place = self.place_class(row.created_at, now);
        let (ttl, class) = (ttl, class).min((self.ttl(place), place));
        self.due_in(class, ttl, row.read_at)
    }

    /// How long it is known which rows exist at an instant.
    pub(in crate::engine) fn place_due(&self, place: Timestamp, read_at: Timestamp, now: Timestamp) -> Due {
        self.due_of(self.place_class(place, now), read_at)
    }

    /// How long data of a class stays fresh.
    pub(in crate::engine) fn due_of(&self, class: Class, read_at: Timestamp) -> Due {
        self.due_in(class, self.ttl(class), read_at)
    }

    /// Live data waits for its whole time to live, because it is read together with the head. Other data
    /// comes due by the stagger of its scope, together. If a request lowers both times to the same value, all
    /// of it is read with the head. The settled time to live is a target: up to twice that time, a row is
    /// served at once and renewed in the background.
    fn due_in(&self, class: Class, ttl: Duration, read_at: Timestamp) -> Due {
        let (at, latest) = match class {
            Class::Settling if ttl > self.ttl(Class::Live) => {
                (self.stagger.due_at(read_at, ttl), read_at.plus(ttl))
            }
            Class::Settled if self.settled > self.settling => (read_at.plus(ttl * 2), read_at.plus(ttl * 2)),
            Class::Live | Class::Settling | Class::Settled => (read_at.plus(ttl), read_at.plus(ttl)),
        };
        Due { class, ttl, at, latest }
    }

    fn row_class(&self, row: &EntryRow<'_>, now: Timestamp) -> (Class, Duration) {
        let of = |class| (class, self.ttl(class));
        if !row.is_dated {
            return of(Class::Live);
        }
        if row.status.is_some_and(crate::domain::Status::is_terminal) {
            let has_settled = self.dated(now).since(row.changed_at) > self.settle_after;
            return of(if has_settled { Class::Settled } else { Class::Settling });
        }
        let patience = self.dated(row.read_at).since(row.changed_at) / PATIENCE;
        if patience >= self.settling {
            return of(if self.settling > self.live { Class::Settling } else { Class::Live });
        }
        (Class::Live, self.lowered(patience.max(self.live)))
    }

    fn place_class(&self, created_at: Timestamp, now: Timestamp) -> Class {
        let age = self.dated(now).since(created_at);
        match self.membership {
            Membership::Fixed => Class::Settled,
            Membership::Rows | Membership::Spans if age <= self.settle_after => Class::Live,
            Membership::Rows | Membership::Spans if age <= RECENT => Class::Settling,
            Membership::Rows | Membership::Spans => Class::Settled,
        }
    }

    /// When a settled part that was read at `read_at` is renewed in the background: at the first due time of
    /// its place that is some time later, so between 0.2 and 1.95 of the settled time to live. Beyond twice
    /// that time, it would be read before the response.
    pub(in crate::engine) fn renewed_at(&self, place: Timestamp, read_at: Timestamp) -> Timestamp {
        self.stagger.at(place).after(read_at.plus(self.renewed_early()), self.ttl(Class::Settled) * 7 / 4)
    }

    /// How long before its due time a settled part may be renewed together with its neighbor; its own due
    /// time is then skipped.
    pub(in crate::engine) fn renewed_early(&self) -> Duration {
        self.ttl(Class::Settled) / 5
    }

    /// Whether data read at that time is past its time to live.
    #[expect(clippy::unused_self, reason = "reads as a question to the policy")]
    pub(in crate::engine) fn is_past(&self, read_at: Timestamp, ttl: Duration, now: Timestamp) -> bool {
        read_at.plus(ttl) < now
    }

    /// With a filter on something that changes, places before this instant have the settled time to live.
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
    use crate::domain::{Digest, EntryIndex, FilterFacts, NewRow, Row, Status};

    const DAY: Duration = Duration::from_hours(24);

    fn policy(membership: Membership) -> Policy {
        Policy {
            live: Duration::from_secs(10),
            settling: Duration::from_secs(120),
            settled: DAY,
            max_age: None,
            min_fresh: Duration::ZERO,
            settle_after: Duration::from_hours(3),
            membership,
            stagger: Stagger::default(),
            minutes_ahead: 0,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    fn row(status: &str, created: Duration, changed: Duration) -> EntryIndex {
        let row = Row {
            id: "a".into(),
            created_at: Some(now().minus(created)),
            updated_at: Some(now().minus(changed)),
            facts: FilterFacts::default(),
            status: Some(Status::new(status)),
            bytes: "{}".into(),
        };
        let new = NewRow {
            created_at: now().minus(created),
            row,
            read_at: now(),
            is_doubted: false,
            digest: Digest(1),
        };
        EntryIndex::new(&[new])
    }

    fn ttl(membership: Membership, row: &EntryIndex) -> u64 {
        policy(membership).due(&row.rows().at(0), now()).ttl.as_secs()
    }

    #[test]
    fn an_unchanged_row_is_settled_and_a_recently_changed_one_is_settling() {
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
    fn a_head_is_read_less_often_the_longer_no_call_was_created() {
        let quiet = |seconds| policy(Membership::Fixed).of_quiet(Duration::from_secs(seconds));
        let live = |seconds| quiet(seconds).ttl(Class::Live).as_secs();
        assert_eq!([0, 199, 200, 1_000, 2_400, 1_000_000].map(live), [10, 10, 10, 50, 120, 120]);
        let wished = CacheDirectives { max_age: Some(Duration::from_secs(1)), ..CacheDirectives::default() };
        assert_eq!(quiet(1_000_000).wished(&wished).ttl(Class::Live).as_secs(), 1);
    }

    #[test]
    fn with_a_changing_filter_the_place_decides() {
        let changing = Membership::Rows;
        assert_eq!(ttl(changing, &row("completed", Duration::from_hours(1), Duration::from_hours(1))), 10);
        assert_eq!(ttl(changing, &row("completed", 5 * DAY, 5 * DAY)), 120);
        assert_eq!(ttl(changing, &row("completed", 9 * DAY, 9 * DAY)), 86_400);
        assert_eq!(ttl(changing, &row("in-progress", 9 * DAY, 9 * DAY)), 120);
    }

    #[test]
    fn only_settled_rows_may_be_served_up_to_twice_their_time_to_live() {
        let policy = policy(Membership::Fixed);
        let lasts = |policy: &Policy, class| policy.due_of(class, now()).latest.since(now());
        assert_eq!(lasts(&policy, Class::Settled), 2 * DAY);
        assert_eq!(lasts(&policy, Class::Settling), policy.settling);
        let never =
            Policy { settled: Duration::ZERO, settling: Duration::ZERO, live: Duration::ZERO, ..policy };
        assert_eq!(lasts(&never, Class::Settled), Duration::ZERO);
    }

    #[test]
    fn a_live_row_stays_live_whatever_age_a_request_allows() {
        for max_age in [0, 1, 5, 10, 15, 30, 49, 50].map(Duration::from_secs) {
            let directives = CacheDirectives { max_age: Some(max_age), ..CacheDirectives::default() };
            let set = Policy { stagger: Stagger::of(1), ..policy(Membership::Fixed) };
            let row = row("in-progress", DAY, Duration::from_secs(1_000));
            let due = set.wished(&directives).due(&row.rows().at(0), now());
            assert_eq!((due.class, due.ttl, due.at), (Class::Live, max_age, now().plus(max_age)));
        }
    }

    #[test]
    fn min_fresh_makes_rows_due_that_much_earlier() {
        let directives =
            CacheDirectives { min_fresh: Some(Duration::from_secs(4)), ..CacheDirectives::default() };
        let wished = policy(Membership::Fixed).wished(&directives);
        assert_eq!((wished.ttl(Class::Live).as_secs(), wished.ttl(Class::Settling).as_secs()), (6, 116));
    }

    #[test]
    fn max_age_does_not_affect_settled_rows() {
        let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
        let wished = policy(Membership::Fixed).wished(&directives);
        let all = [Class::Live, Class::Settling, Class::Settled].map(|class| wished.ttl(class));
        assert_eq!(all, [Duration::ZERO, Duration::ZERO, DAY]);
    }
}
