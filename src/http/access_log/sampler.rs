use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most log lines about refusals in a [`PERIOD`]: a storm of them must not drown the log.
const MOST_LINES: u32 = 20;

/// The time in which they are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Thins out the log lines about refusals, and knows how many it left out.
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

    /// Whether the line of a refusal is to be written, and how many were left out since one was.
    pub(super) fn refusal(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// How many were left out, for a line about something else, which is always written.
    pub(super) fn other(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_refusals_leaves_a_few_lines_and_the_number_of_the_others() {
        let sampler = Sampler::new();
        let written = (0..1000).filter(|_| sampler.refusal() == Some(0)).count();
        assert_eq!(written, 20);
        tokio::time::advance(PERIOD).await;
        assert_eq!(sampler.refusal(), Some(980));
        assert_eq!(sampler.refusal(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_line_of_any_kind_tells_how_many_were_left_out() {
        let sampler = Sampler::new();
        for _ in 0..25 {
            let _ = sampler.refusal();
        }
        assert_eq!(sampler.other(), 5);
        assert_eq!(sampler.other(), 0);
    }
}
