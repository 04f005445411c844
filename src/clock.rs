//! What time it is, by a clock that never goes back and never jumps.
//!
//! The wall clock is read once, at the start. It may be wrong then (a machine that boots before its time is synchronized), and it may be set
//! at any moment afterwards, so nothing that is measured may depend on it: ages and the difference to upstream's clock are
//! measured with one and the same clock, this one. How far it is from upstream's is learned from upstream's `Date`, however large.
//!
//! On Linux it also runs on while the machine is suspended, which Rust's own instants do not: what was read before is then as old as it
//! is, and a key that was accepted before is checked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::domain::Timestamp;

/// A clock that is set once and runs on by itself. Clones show the same time.
#[derive(Clone, Debug)]
pub struct SteadyClock {
    start: Instant,
    shown_at_start: Timestamp,
    suspended: Arc<Suspended>,
}

/// How long the machine was suspended, in microseconds: since it booted, as far as it was seen, and until the clock was made.
#[derive(Debug)]
struct Suspended {
    seen: AtomicI64,
    at_start: i64,
}

/// Two clocks are read one after the other, so what lies between them varies by a little. Less than this is no suspension.
const SHORTEST_SUSPENSION: i64 = 1_000_000;

impl SteadyClock {
    /// A clock that shows the wall clock's time now.
    pub fn from_wall() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::showing(Timestamp::from_micros(0).plus(since_1970))
    }

    /// A clock that shows this time now.
    pub fn showing(now: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            shown_at_start: now,
            suspended: Arc::new(Suspended::since(suspended_since_boot())),
        }
    }

    /// Its time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Its time at an instant since which the machine was not suspended.
    pub fn at(&self, instant: Instant) -> Timestamp {
        let suspended = self.suspended.length(suspended_since_boot());
        self.shown_at_start.plus(instant.saturating_duration_since(self.start)).plus(suspended)
    }
}

impl Suspended {
    const fn since(micros: i64) -> Self {
        Self { seen: AtomicI64::new(micros), at_start: micros }
    }

    /// For how long since the start, given how long since the machine booted. It never becomes less.
    fn length(&self, micros: i64) -> Duration {
        let mut seen = self.seen.load(Ordering::Relaxed);
        if micros.saturating_sub(seen) >= SHORTEST_SUSPENSION {
            seen = self.seen.fetch_max(micros, Ordering::Relaxed).max(micros);
        }
        Duration::from_micros(seen.abs_diff(self.at_start))
    }
}

/// In microseconds; zero where the system does not say.
#[cfg(target_os = "linux")]
fn suspended_since_boot() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    let micros = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
    };
    micros(ClockId::Boottime).saturating_sub(micros(ClockId::Monotonic))
}

/// In microseconds; zero where the system does not say.
#[cfg(not(target_os = "linux"))]
const fn suspended_since_boot() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_counts_and_the_noise_between_two_clocks_does_not() {
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
    async fn shows_what_it_was_set_to_and_runs_on() {
        let start = Timestamp::from_micros(1_790_000_000_000_000);
        let clock = SteadyClock::showing(start);
        let copy = clock.clone();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!((clock.now(), copy.now()), (start.plus(Duration::from_secs(7)), clock.now()));
    }
}
