//! Limits a repeated log line to one per minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(60);

/// A log line of which one per minute is written.
#[derive(Debug, Default)]
pub(crate) struct SampledLine(Mutex<LineState>);

#[derive(Debug, Default)]
struct LineState {
    last: Option<Instant>,
    left_out: u64,
}

impl SampledLine {
    /// Returns how many lines were left out before this one, or `None` if this one is to be left out too.
    pub(crate) fn next(&self) -> Option<u64> {
        let mut state = self.0.lock();
        if state.last.is_some_and(|last| last.elapsed() < EVERY) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_first_of_two() {
        let line = SampledLine::default();
        assert_eq!((line.next(), line.next()), (Some(0), None));
    }
}
