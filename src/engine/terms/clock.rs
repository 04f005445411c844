use tokio::time::Instant;

use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::source::Source;

/// The engine's clock: ours, and upstream's relative to it.
#[derive(Clone, Debug)]
pub struct Clock(SteadyClock);

impl Clock {
    /// The engine's view of the clock that the source measures upstream's `Date` with.
    pub const fn of(clock: SteadyClock) -> Self {
        Self(clock)
    }

    /// A clock that shows this time now.
    pub fn showing(now: Timestamp) -> Self {
        Self(SteadyClock::showing(now))
    }

    /// Our time.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Our time at an instant.
    pub(in crate::engine) fn at(&self, instant: Instant) -> Timestamp {
        self.0.at(instant)
    }

    /// Upstream's time, as far as known.
    pub(in crate::engine) fn upstream_now(&self, source: &dyn Source) -> Timestamp {
        self.asked_at(Instant::now(), source).upstream
    }

    /// When something was requested, by both clocks.
    pub(in crate::engine) fn asked_at(&self, instant: Instant, source: &dyn Source) -> AskedAt {
        let ours = self.at(instant);
        let upstream = ours.as_micros().saturating_add(source.clock_ahead_micros());
        AskedAt { ours, upstream: Timestamp::from_micros(upstream) }
    }
}

/// When a request was sent upstream, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct AskedAt {
    /// By ours, which measures ages.
    pub(in crate::engine) ours: Timestamp,
    /// By upstream's, which dates rows.
    pub(in crate::engine) upstream: Timestamp,
}
