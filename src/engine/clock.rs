use std::time::SystemTime;

use tokio::time::Instant;

use super::reading::AskedAt;
use crate::domain::Timestamp;
use crate::source::Source;

/// What time it is, by a clock that never goes back: ages are measured with it.
///
/// It is read off the wall once, at start. That it may drift from the wall afterwards does no harm: what upstream's
/// clock says is learned from upstream.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    wall_at_start: Timestamp,
}

impl Clock {
    /// A clock that shows the wall's time now.
    pub fn from_wall() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::showing(Timestamp::from_micros(0).plus(since_1970))
    }

    /// A clock that shows this time now.
    pub fn showing(now: Timestamp) -> Self {
        Self { start: Instant::now(), wall_at_start: now }
    }

    /// Our time.
    pub fn now(&self) -> Timestamp {
        self.wall_at_start.plus(self.start.elapsed())
    }

    /// Upstream's time, as far as it was learned.
    pub(super) fn upstream_now(&self, source: &dyn Source) -> Timestamp {
        Timestamp::from_micros(self.now().as_micros() + source.clock_ahead_micros())
    }

    pub(super) fn asked_now(&self, source: &dyn Source) -> AskedAt {
        Self::asked_then(self.now(), source)
    }

    /// The same of an instant by our clock.
    pub(super) fn asked_then(ours: Timestamp, source: &dyn Source) -> AskedAt {
        AskedAt { ours, upstream: Timestamp::from_micros(ours.as_micros() + source.clock_ahead_micros()) }
    }
}
