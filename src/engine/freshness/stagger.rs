//! Staggers the due times of rows that were read together.
//!
//! A history that was read at once would come due at once, again and again. So every scope has its own
//! *beat*, a series of instants one time to live apart, and a place is due at the last beat within its time
//! to live. Nothing is served for longer than allowed, and a place on its beat is read once per time to live.
//! If the next beat comes soon after the read, the place first comes due halfway to it.
//!
//! Rows that are read before a response share one beat for the whole scope: one walk, or one request with a
//! status filter, then refreshes everything that is due in a window. Settled rows are many and are renewed in
//! the background: their beat moves through the history from newer to older places, so that the next place to
//! renew is just below the last.

use std::time::Duration;

use crate::domain::Timestamp;

/// The part of a history that a beat moves through before the next: eight weeks, in microseconds.
const SWEPT: i64 = 8 * 7 * 86_400 * 1_000_000;

/// The fraction of the golden ratio, in units of 2^-64. Its multiples are evenly distributed around a circle,
/// however many there are. Random values would leave some half of a period crowded for as long as the scopes
/// are in use.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Staggers the places of one scope against those of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Stagger {
    /// The phase of its beat within each period, in units of 2^-64.
    fraction: u64,
}

impl Stagger {
    /// The beat of the scope with this number.
    pub(in crate::engine) const fn of(others: u64) -> Self {
        Self { fraction: others.wrapping_mul(GOLDEN) }
    }

    /// The beat at a place: the older the place, the later the beat.
    #[must_use]
    pub(in crate::engine) fn at(self, place: Timestamp) -> Self {
        let share = i128::from(place.as_micros().rem_euclid(SWEPT)) << 64;
        Self { fraction: self.fraction.wrapping_sub((share / i128::from(SWEPT)) as u64) }
    }

    /// When data that was read at `read_at` comes due: at the last beat within its time to live, or halfway
    /// to the next one if that beat comes within a quarter of that time.
    pub(in crate::engine) fn due_at(self, read_at: Timestamp, ttl: Duration) -> Timestamp {
        let latest = read_at.plus(ttl);
        let next = self.after(latest, ttl);
        let last = next.minus(ttl);
        if last >= read_at.plus(ttl / EARLIEST) { last } else { read_at.plus(next.since(read_at) / 2) }
    }

    /// The first beat after an instant, for beats this far apart.
    pub(in crate::engine) fn after(self, instant: Timestamp, period: Duration) -> Timestamp {
        let period_micros = micros(period);
        if period_micros == 0 {
            return instant;
        }
        let phase = ((i128::from(self.fraction) * i128::from(period_micros)) >> 64) as i64;
        let since_beat = instant.as_micros().saturating_sub(phase).rem_euclid(period_micros);
        instant.plus(Duration::from_micros((period_micros - since_beat).unsigned_abs()))
    }
}

/// The part of a time to live in which nothing comes due, as a divisor. With a larger part, data that was
/// read together would come due within a shorter time, at a higher rate; with a smaller part, single reads
/// would be wasted.
const EARLIEST: u32 = 4;

/// A length in microseconds; the longest is over 100,000 years.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(120);

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    proptest! {
        #[test]
        fn due_times_are_within_the_last_three_quarters_of_the_time_to_live(
            scope: u64, read_at in 0i64..9_000_000_000_000_000, ttl in 0u64..100_000_000_000,
        ) {
            let (read_at, ttl) = (at(read_at), Duration::from_micros(ttl));
            let due = Stagger::of(scope).due_at(read_at, ttl);
            prop_assert!(due <= read_at.plus(ttl));
            prop_assert!(due.since(read_at) >= ttl / 4, "{:?} of {ttl:?}", due.since(read_at));
        }

        #[test]
        fn a_place_on_its_beat_is_due_once_per_time_to_live(
            scope: u64, read_at in 0i64..9_000_000_000_000_000, late in 0u64..1_000_000,
        ) {
            let stagger = Stagger::of(scope);
            let due_again = |read_at| stagger.due_at(read_at, TTL);
            let on_beat = due_again(due_again(at(read_at)));
            let read_late = on_beat.plus(Duration::from_micros(late));
            prop_assert_eq!(due_again(read_late), on_beat.plus(TTL));
        }
    }

    #[test]
    fn rows_read_together_come_due_at_different_times() {
        let (read_at, week) = (at(1_790_000_000_000_000), SWEPT / 8);
        let due = |scope, weeks| Stagger::of(scope).at(at(weeks * week)).due_at(read_at, TTL);
        let all: Vec<Duration> =
            (0..20).flat_map(|scope| (0..9).map(move |weeks| due(scope, weeks).since(read_at))).collect();
        let within = |from: u32, to: u32| {
            let range = Duration::from_secs(from.into())..Duration::from_secs(to.into());
            all.iter().filter(|age| range.contains(age)).count()
        };
        let thirds = [within(30, 60), within(60, 90), within(90, 121)];
        assert_eq!(thirds.iter().sum::<usize>(), 180);
        assert!(thirds.iter().all(|count| (40..100).contains(count)), "{thirds:?}");
    }

    #[test]
    fn beats_sweep_from_newer_places_to_older_ones() {
        let stagger = |days: i64| Stagger::of(3).at(at(days * 86_400_000_000)).after(at(0), TTL);
        let later = (0..56).filter(|day| stagger(day + 1) < stagger(*day)).count();
        assert!(later >= 55, "all but where a new sweep begins: {later}");
    }
}
