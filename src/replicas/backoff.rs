//! Pauses between attempts to connect.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that double up to a limit. Each is shortened at random by up to half, so that processes do not reconnect all at once.
#[derive(Debug)]
pub(super) struct ReconnectPause(Duration);

impl Default for ReconnectPause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl ReconnectPause {
    /// Returns the next pause. `dice` is a random number between 0 and 1.
    pub(super) fn next(&mut self, dice: f64) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds() {
        let mut pause = ReconnectPause::default();
        let pauses: Vec<_> = (0..8).map(|_| pause.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause.next(0.0), Duration::from_millis(2500));
    }
}
