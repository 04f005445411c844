//! Log lines about a disk that goes on failing: one a minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a line may be written.
const EVERY: Duration = Duration::from_secs(60);

/// Decides which of many equal log lines are written.
#[derive(Debug, Default)]
pub(crate) struct SampledLine(Mutex<LineState>);

#[derive(Debug, Default)]
struct LineState {
    last: Option<Instant>,
    left_out: u64,
}

impl SampledLine {
    /// Whether to write a line now, and how many were left out before it.
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
    fn writes_the_first_of_many() {
        let line = SampledLine::default();
        assert_eq!((line.next(), line.next()), (Some(0), None));
    }
}
