//! A clock that never goes back and never jumps.
//!
//! The wall clock is read once, at the start. It may be wrong at that moment (a machine may boot before its time is
//! synchronized) and may be set later, so no measurement depends on it. This clock measures both ages and the difference from
//! upstream's clock, which is learned from upstream's `Date`, however large it is.
//!
//! On Linux this clock also advances while the machine is suspended, which Rust's instants don't. So after a suspension, data
//! has its real age, and a key that was accepted before is checked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::domain::Timestamp;

/// A clock that is set once and then runs on its own. Clones show the same time.
#[derive(Clone, Debug)]
pub struct SteadyClock {
    start: Instant,
    shown_at_start: Timestamp,
    suspended: Arc<Suspended>,
}

/// How long the machine was suspended since boot, in microseconds: as last seen, and when this clock was created.
#[derive(Debug)]
struct Suspended {
    seen: AtomicI64,
    at_start: i64,
}

/// In microseconds. The two clocks are read one after the other, so their difference varies slightly; a smaller change is
/// not a suspension.
const SHORTEST_SUSPENSION: i64 = 1_000_000;

impl SteadyClock {
    /// Creates a clock that shows the wall clock's current time.
    pub fn from_wall() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::showing(Timestamp::from_micros(0).plus(since_1970))
    }

    /// Creates a clock that shows this time.
    pub fn showing(now: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            shown_at_start: now,
            suspended: Arc::new(Suspended::since(suspended_since_boot())),
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time at an instant, if the machine has not been suspended since.
    pub fn at(&self, instant: Instant) -> Timestamp {
        let suspended = self.suspended.length(suspended_since_boot());
        self.shown_at_start.plus(instant.saturating_duration_since(self.start)).plus(suspended)
    }
}

impl Suspended {
    const fn since(micros: i64) -> Self {
        Self { seen: AtomicI64::new(micros), at_start: micros }
    }

    /// How long the machine was suspended since this clock was created, given the same since boot. It never decreases.
    fn length(&self, micros: i64) -> Duration {
        let mut seen = self.seen.load(Ordering::Relaxed);
        if micros.saturating_sub(seen) >= SHORTEST_SUSPENSION {
            seen = self.seen.fetch_max(micros, Ordering::Relaxed).max(micros);
        }
        Duration::from_micros(seen.abs_diff(self.at_start))
    }
}

/// How long the machine was suspended since boot, in microseconds; zero if the system does not report it.
#[cfg(target_os = "linux")]
fn suspended_since_boot() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    let micros = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
    };
    micros(ClockId::Boottime).saturating_sub(micros(ClockId::Monotonic))
}

/// How long the machine was suspended since boot, in microseconds; zero if the system does not report it.
#[cfg(not(target_os = "linux"))]
const fn suspended_since_boot() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_suspension_but_not_the_noise_between_two_clocks() {
        const SECOND: i64 = 1_000_000;
        let suspended = Suspended::since(50 * SECOND);
        for noise in [-900_000, -1, 0, 1, 999_999] {
            assert_eq!(suspended.length(50 * SECOND + noise), Duration::ZERO);
        }
        assert_eq!(suspended.length(3_650 * SECOND), Duration::from_secs(3_600));
        assert_eq!(suspended.length(3_650 * SECOND - 5), Duration::from_secs(3_600));
        assert_eq!(suspended.length(3_660 * SECOND), Duration::from_secs(3_610));
    }

    #[tokio::test(start_paused = true)]
    async fn starts_at_the_given_time_and_advances() {
        let start = Timestamp::from_micros(1_790_000_000_000_000);
        let clock = SteadyClock::showing(start);
        let copy = clock.clone();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!((clock.now(), copy.now()), (start.plus(Duration::from_secs(7)), clock.now()));
    }
}
