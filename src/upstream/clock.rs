use std::time::Duration;

use tokio::time::Instant;

/// How long an estimate of upstream's clock is used.
///
/// Two undisciplined clocks drift apart by some 100 ppm, which is 60 ms in this time: little compared with
/// the second to which `Date` is rounded.
const HOLDS_FOR: Duration = Duration::from_secs(600);

/// The difference, in microseconds, from which the log reports that one of the clocks is wrong: a minute.
const WORTH_LOGGING: i64 = 60_000_000;

/// How far upstream's clock is assumed to be behind while it sends no `Date`, in microseconds: a minute.
///
/// A question up to the present must end before upstream's present; otherwise rows created meanwhile would be
/// missed.
const UNKNOWN_BEHIND: i64 = 60_000_000;

/// `Date` is cut to whole seconds.
const SECOND: i64 = 1_000_000;

/// An estimate of the difference between upstream's clock and ours.
///
/// A response dated *d* says that upstream's clock was in `[d, d + 1 s)` at some moment between the sending
/// of the request and the arrival of its response. Each response thus bounds the difference from both sides,
/// and the intersection of many such bounds is far narrower than a second. A response that contradicts the
/// bounds (upstream's clock was set) starts a new estimate; an old estimate expires.
///
/// "Ours" is a [`crate::clock::SteadyClock`], which never jumps. A difference of any size is therefore
/// upstream's and is accepted, because rows carry dates of upstream's clock.
///
/// Pure: all clocks are parameters.
#[derive(Debug, Default)]
pub(super) struct ClockEstimate {
    known: Option<ClockBounds>,
    /// Whether upstream responded without a `Date`.
    is_undated: bool,
    /// The difference that was last logged.
    logged: i64,
}

#[derive(Clone, Copy, Debug)]
struct ClockBounds {
    /// Upstream's clock is at least this far ahead, in microseconds.
    low: i64,
    /// Upstream's clock is at most this far ahead.
    high: i64,
    since: Instant,
}

/// When a request was sent and when the head of its response arrived, in microseconds since 1970 by our
/// clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) sent: i64,
    pub(super) received: i64,
}

impl ClockEstimate {
    /// Records a response's `Date`, in microseconds since 1970.
    pub(super) fn observe(&mut self, date: i64, exchange: Exchange, now: Instant) {
        let low = date.saturating_sub(exchange.received);
        let high = date.saturating_add(SECOND).saturating_sub(exchange.sent);
        let fresh = ClockBounds { low, high, since: now };
        self.known = Some(match self.known {
            Some(known) if now.saturating_duration_since(known.since) < HOLDS_FOR => {
                let (low, high) = (known.low.max(low), known.high.min(high));
                if low <= high { ClockBounds { low, high, since: known.since } } else { fresh }
            }
            Some(_) | None => fresh,
        });
    }

    /// Records that a response had no `Date`.
    pub(super) const fn saw_no_date(&mut self) {
        self.is_undated = true;
    }

    /// How far upstream's clock is ahead, in microseconds: zero while the clocks may be equal, otherwise the
    /// middle of the possible range. Upstream without a `Date` is assumed to be behind.
    pub(super) const fn ahead_micros(&self) -> i64 {
        match self.known {
            Some(ClockBounds { low, high, .. }) if low > 0 || high < 0 => low.midpoint(high),
            Some(_) => 0,
            None if self.is_undated => -UNKNOWN_BEHIND,
            None => 0,
        }
    }

    /// Returns a known difference that correct clocks would not have: once, and again when it has changed by
    /// as much.
    pub(super) fn news(&mut self) -> Option<i64> {
        let ahead = self.known.map(|_| self.ahead_micros())?;
        let is_news = ahead.abs_diff(self.logged) >= WORTH_LOGGING.unsigned_abs();
        is_news.then(|| {
            self.logged = ahead;
            ahead
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observe(clock: &mut ClockEstimate, ahead: i64, sent: i64, travel: [i64; 2], now: Instant) {
        let upstream = sent + travel[0] + ahead;
        let date = upstream - upstream.rem_euclid(SECOND);
        clock.observe(date, Exchange { sent, received: sent + travel[0] + travel[1] }, now);
    }

    #[test]
    fn equal_clocks_have_no_difference() {
        let mut clock = ClockEstimate::default();
        assert_eq!(clock.ahead_micros(), 0);
        for i in 0..100 {
            observe(&mut clock, 0, i * 77_777, [100_000, 3_000], Instant::now());
            assert_eq!(clock.ahead_micros(), 0);
        }
    }

    #[test]
    fn learns_a_clock_again_after_it_was_set() {
        let now = Instant::now();
        let mut clock = ClockEstimate::default();
        observe(&mut clock, 60 * SECOND, 0, [10, 10], now);
        observe(&mut clock, -60 * SECOND, 0, [10, 10], now);
        assert!((clock.ahead_micros() + 60 * SECOND).abs() <= SECOND);
    }

    #[test]
    fn old_bounds_expire() {
        let now = Instant::now();
        let mut clock = ClockEstimate::default();
        observe(&mut clock, 5 * SECOND, 0, [0, 0], now);
        observe(&mut clock, 5 * SECOND + 100_000, 0, [0, 900_000], now + HOLDS_FOR);
        let known = clock.known.unwrap();
        assert_eq!(known.since, now + HOLDS_FOR);
    }

    #[test]
    fn accepts_any_difference_and_reports_it_once() {
        const DAY: i64 = 86_400 * SECOND;
        for ahead in [-2 * DAY, -3_600 * SECOND, 3_600 * SECOND, 2 * DAY, 20_000 * DAY] {
            let mut clock = ClockEstimate::default();
            observe(&mut clock, ahead, 100_000 * DAY, [10, 10], Instant::now());
            assert!((clock.ahead_micros() - ahead).abs() <= SECOND, "{ahead}");
            assert!(clock.news().is_some_and(|told| (told - ahead).abs() <= SECOND));
            assert_eq!(clock.news(), None);
            observe(&mut clock, 0, 100_000 * DAY, [10, 10], Instant::now());
            assert_eq!(clock.news().map(|told| told / SECOND), Some(0));
        }
    }

    #[test]
    fn never_reports_small_differences() {
        let mut clock = ClockEstimate::default();
        observe(&mut clock, 50 * SECOND, 0, [10, 10], Instant::now());
        assert_eq!(clock.news(), None);
    }

    #[test]
    fn without_a_date_upstream_is_assumed_a_minute_behind() {
        let mut clock = ClockEstimate::default();
        clock.saw_no_date();
        assert_eq!((clock.ahead_micros(), clock.news()), (-UNKNOWN_BEHIND, None));
        observe(&mut clock, 5 * SECOND, 0, [10, 10], Instant::now());
        assert!((clock.ahead_micros() - 5 * SECOND).abs() <= SECOND);
        clock.saw_no_date();
        assert!((clock.ahead_micros() - 5 * SECOND).abs() <= SECOND);
    }

    #[test]
    fn dates_from_both_ends_of_the_calendar_are_safe() {
        let now = Instant::now();
        for date in [i64::MIN, -377_705_000_000 * SECOND, 0, 253_402_000_000 * SECOND, i64::MAX] {
            let mut clock = ClockEstimate::default();
            clock.observe(
                date,
                Exchange { sent: 1_790_000_000 * SECOND, received: 1_790_000_001 * SECOND },
                now,
            );
            let _told = (clock.ahead_micros(), clock.news());
        }
    }

    proptest! {
        #[test]
        fn the_true_difference_stays_within_bounds_and_the_estimate_converges(
            ahead in -100_000_000i64..100_000_000,
            sends in prop::collection::vec((0i64..1_000_000, 0i64..300_000, 0i64..300_000), 1..200),
        ) {
            let now = Instant::now();
            let mut clock = ClockEstimate::default();
            let mut at = 1_000_000_000;
            for (gap, there, back) in sends {
                at += gap;
                observe(&mut clock, ahead, at, [there, back], now);
                let known = clock.known.unwrap();
                prop_assert!(known.low <= ahead && ahead <= known.high);
                prop_assert!((clock.ahead_micros() - ahead).abs() <= SECOND + 600_000);
            }
        }
    }
}
