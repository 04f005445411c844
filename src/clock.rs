//! What time it is, by a clock that never goes back and never jumps.
//!
//! The wall clock is read once, at the start. It may be wrong then (a machine that boots before its time is synchronized), and it may be set
//! at any moment afterwards, so nothing that is measured may depend on it: ages and the difference to upstream's clock are
//! measured with one and the same clock, this one. How far it is from upstream's is learned from upstream's `Date`, however large.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::domain::Timestamp;

/// A clock that is set once and runs on by itself. Clones show the same time.
#[derive(Clone, Debug)]
pub struct SteadyClock {
    start: Instant,
    shown_at_start: Timestamp,
}

impl SteadyClock {
    /// A clock that shows the wall clock's time now.
    pub fn from_wall() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::showing(Timestamp::from_micros(0).plus(since_1970))
    }

    /// A clock that shows this time now.
    pub fn showing(now: Timestamp) -> Self {
        Self { start: Instant::now(), shown_at_start: now }
    }

    /// Its time now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Its time at an instant.
    pub fn at(&self, instant: Instant) -> Timestamp {
        self.shown_at_start.plus(instant.saturating_duration_since(self.start))
    }
}
