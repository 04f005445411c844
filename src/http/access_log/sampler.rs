use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The maximum log lines about refusals in a [`PERIOD`], so that a flood of refusals can't flood the log.
const MOST_LINES: u32 = 20;

/// The period over which lines are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples the log lines about refusals and counts the lines that it leaves out.
#[derive(Debug)]
pub(super) struct Sampler(Mutex<SamplerWindow>);

#[derive(Debug)]
struct SamplerWindow {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self(Mutex::new(SamplerWindow { began: Instant::now(), lines: 0, left_out: 0 }))
    }

    /// Returns `Some` if the line of a refusal should be written: the number of lines left out since the last
    /// one.
    pub(super) fn refusal(&self) -> Option<u64> {
        let mut state = self.0.lock();
        if state.began.elapsed() >= PERIOD {
            (state.began, state.lines) = (Instant::now(), 0);
        }
        if state.lines >= MOST_LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }

    /// The number of lines left out, for a line about something else. Such a line is always written.
    pub(super) fn other(&self) -> u64 {
        std::mem::take(&mut self.0.lock().left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_is_sampled_and_counted() {
        let sampler = Sampler::new();
        let written = (0..1000).filter(|_| sampler.refusal() == Some(0)).count();
        assert_eq!(written, 20);
        tokio::time::advance(PERIOD).await;
        assert_eq!(sampler.refusal(), Some(980));
        assert_eq!(sampler.refusal(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_line_of_any_kind_carries_the_number_left_out() {
        let sampler = Sampler::new();
        for _ in 0..25 {
            let _ = sampler.refusal();
        }
        assert_eq!(sampler.other(), 5);
        assert_eq!(sampler.other(), 0);
    }
}
