//! When what was read together comes due again: apart.
//!
//! A history read in one go would be due in one go, and for ever after. So every place has a *beat* of its own, a
//! series of instants one time to live apart, and what lies there comes due on the last beat within its time to live.
//! Nothing is given for longer than it may be; once on its beat, a place is read once per time to live and not more.
//! Where that beat comes soon after the reading, the place goes halfway first.
//!
//! A place is a week of one scope: the rows of a week come due together, because one walk, or one question under the
//! filter of a status, then serves them all.

use std::time::Duration;

use crate::domain::Timestamp;

/// A week in microseconds.
const WEEK: i64 = 7 * 86_400 * 1_000_000;

/// Sets the places of one scope apart from those of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    salt: u64,
}

impl Beat {
    /// The beat of the scope with this key.
    pub(super) fn of(key: [u8; 16]) -> Self {
        let mut salt = [0; 8];
        salt.copy_from_slice(&key[..8]);
        Self { salt: u64::from_le_bytes(salt) }
    }

    /// When something that was read then, at this place, comes due: from half of its time to live on, and no later
    /// than that.
    pub(super) fn due_at(self, place: Timestamp, read_at: Timestamp, ttl: Duration) -> Timestamp {
        let latest = read_at.plus(ttl);
        let (period, half) = (micros(ttl), micros(ttl / 2));
        if half == 0 {
            return latest;
        }
        let phase = (self.share(place) * period as f64) as i64;
        let since_beat = latest.as_micros().saturating_sub(phase).rem_euclid(period);
        if since_beat <= half {
            latest.minus(Duration::from_micros(since_beat.unsigned_abs()))
        } else {
            let next = latest.plus(Duration::from_micros((period - since_beat).unsigned_abs()));
            read_at.plus(next.since(read_at) / 2)
        }
    }

    /// A share between 0 and 1 that depends on the scope and the week alone.
    fn share(self, place: Timestamp) -> f64 {
        // The finalizer of SplitMix64.
        let mut bits = place.as_micros().div_euclid(WEEK).unsigned_abs() ^ self.salt;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A length in microseconds, of which the longest is over 100,000 years.
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
        fn nothing_is_due_before_half_of_its_time_nor_after_all_of_it(
            key: [u8; 16], place in -9_000_000_000_000_000i64..9_000_000_000_000_000, read_at in 0i64..9_000_000_000_000_000,
            ttl in 0u64..100_000_000_000,
        ) {
            let (read_at, ttl) = (at(read_at), Duration::from_micros(ttl));
            let due = Beat::of(key).due_at(at(place), read_at, ttl);
            prop_assert!(due <= read_at.plus(ttl));
            prop_assert!(due.since(read_at) >= ttl / 2, "{:?} of {ttl:?}", due.since(read_at));
        }

        #[test]
        fn once_on_its_beat_a_place_is_due_once_per_time_to_live(
            key: [u8; 16], place in 0i64..9_000_000_000_000_000, read_at in 0i64..9_000_000_000_000_000, late in 0u64..1_000_000,
        ) {
            let beat = Beat::of(key);
            let due_again = |read_at| beat.due_at(at(place), read_at, TTL);
            let on_beat = due_again(due_again(at(read_at)));
            let read_late = on_beat.plus(Duration::from_micros(late));
            prop_assert_eq!(due_again(read_late), on_beat.plus(TTL));
        }
    }

    #[test]
    fn places_that_were_read_together_come_due_apart() {
        let read_at = at(1_790_000_000_000_000);
        let due = |key: u8, week: i64| Beat::of([key; 16]).due_at(at(week * WEEK), read_at, TTL);
        let all: Vec<Duration> =
            (0..20).flat_map(|key| (0..9).map(move |week| due(key, week).since(read_at))).collect();
        let within = |from: u32, to: u32| {
            let range = Duration::from_secs(from.into())..Duration::from_secs(to.into());
            all.iter().filter(|age| range.contains(age)).count()
        };
        let quarters = [within(60, 75), within(75, 90), within(90, 105), within(105, 121)];
        assert_eq!(quarters.iter().sum::<usize>(), 180);
        assert!(quarters.iter().all(|count| (15..80).contains(count)), "{quarters:?}");
    }
}
