//! Detects that the main runtime makes no progress because every worker spins or waits for a lock that is never released.
//!
//! [`beat`] runs on the main runtime, and [`watch`] on another thread. A runtime that misses its beats doesn't accept
//! connections either, so a stall matters whether or not a request is in flight.
//!
//! # A slow processor is not a stall
//! A throttled or stopped process misses beats too, but then the watchdog's own checks are late as well. Therefore only
//! punctual checks count.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use crate::telemetry::Pulse;

/// The time between two beats, and between two checks.
const PERIOD: Duration = Duration::from_secs(1);

/// How many punctual checks in a row must find no new beat: 30 s.
const MISSED_CHECKS: u32 = 30;

/// How late a check may be to count as punctual. A throttled process gets the processor back in the next period of 100 ms.
const ON_TIME: Duration = Duration::from_millis(20);

/// Beats for as long as the runtime polls it.
pub async fn beat(pulse: Pulse) {
    loop {
        pulse.beat();
        sleep(PERIOD).await;
    }
}

/// Watches the beats. Never returns.
pub async fn watch(pulse: Pulse) {
    let mut watch = Watch::default();
    loop {
        let due = Instant::now() + PERIOD;
        sleep_until(due).await;
        let is_stalled = watch.check(pulse.beats(), due.elapsed());
        if pulse.set_stalled(is_stalled) {
            if is_stalled {
                error!(
                    target: "fanfold::process",
                    "The engine has made no progress for {MISSED_CHECKS} s: /livez answers 503 until it does."
                );
            } else {
                info!(target: "fanfold::process", "The engine makes progress again.");
            }
        }
    }
}

#[derive(Debug, Default)]
struct Watch {
    beats: u64,
    missed: u32,
}

impl Watch {
    /// Returns whether the runtime is stalled, given how late this check was.
    fn check(&mut self, beats: u64, late: Duration) -> bool {
        if beats != self.beats {
            *self = Self { beats, missed: 0 };
        } else if late <= ON_TIME {
            self.missed = self.missed.saturating_add(1);
        }
        self.missed >= MISSED_CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_stalled_after(pulse: &Pulse, seconds: u64) -> bool {
        sleep(Duration::from_secs(seconds)).await;
        pulse.is_stalled()
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_is_stalled_thirty_seconds_after_its_last_beat() {
        let pulse = Pulse::default();
        let stopping = async {
            tokio::select! {
                () = beat(pulse.clone()) => {}
                () = sleep(Duration::from_secs(100)) => {}
            }
            assert!(!pulse.is_stalled());
            assert!(!is_stalled_after(&pulse, 28).await);
            assert!(is_stalled_after(&pulse, 4).await);
            pulse.beat();
            assert!(!is_stalled_after(&pulse, 2).await);
        };
        tokio::select! {
            () = watch(pulse.clone()) => {}
            () = stopping => {}
        }
    }

    #[test]
    fn late_checks_do_not_count() {
        let mut watch = Watch::default();
        for _ in 0..1000 {
            assert!(!watch.check(0, Duration::from_millis(60)));
        }
        for _ in 1..MISSED_CHECKS {
            assert!(!watch.check(0, Duration::from_millis(1)));
        }
        assert!(watch.check(0, Duration::ZERO));
    }
}
