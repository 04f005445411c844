use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::settings::Rate;

/// Counts requests in a sliding window: no span of the rate's length has more than it allows. Refused
/// requests do not count.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<VecDeque<Instant>>);

impl Limiter {
    /// Lets a request through, or says how long it would have to wait.
    pub(super) fn admit(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut sent = self.0.lock();
        while sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= rate.per) {
            sent.pop_front();
        }
        if sent.len() < rate.requests {
            sent.push_back(now);
            return Ok(());
        }
        // The request that must leave the window before another one fits.
        let leaves = sent.get(sent.len().saturating_sub(rate.requests.max(1)));
        Err(leaves.map_or(rate.per, |at| (*at + rate.per).saturating_duration_since(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_of_the_rates_length_holds_more() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let rate = Rate { requests: 3, per: Duration::from_secs(60) };
        let admit = |second| limiter.admit(rate, start + Duration::from_secs(second));
        assert_eq!([admit(0), admit(10), admit(59)], [Ok(()); 3]);
        assert_eq!(admit(59), Err(Duration::from_secs(1)));
        assert_eq!(admit(60), Ok(()));
        assert_eq!(admit(61), Err(Duration::from_secs(9)));
    }
}
