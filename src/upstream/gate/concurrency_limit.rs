use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The fraction of the requests in flight that a timeout leaves.
const CUT: f64 = 0.7;

/// The minimum for all: a few hanging requests must not block all others.
pub(super) const LEAST: f64 = 4.0;

/// The minimum for an agent: one request, to see whether it still times out.
pub(super) const LEAST_OF_AGENT: f64 = 1.0;

/// The most responses that are remembered; more than there are connections add nothing.
const MOST_ANSWERS: usize = 1024;

/// How long a timeout is remembered: four attempts of the usual length without another.
const MEMORY: Duration = Duration::from_secs(60);

/// The number of requests of a lane that may be in flight, learned from timeouts.
///
/// Spacing requests out does not help an upstream that is too slow while all of them wait; fewer waiting
/// requests do. So a timeout cuts the number in flight, and every response allows a fraction of one more, so
/// that as many responses as are in flight allow one: additive increase, multiplicative decrease. A burst of
/// timeouts counts once. A single question that upstream can't answer does not count, as long as more other
/// requests are answered meanwhile than are in flight. Pure: the clock is a parameter.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyLimit {
    learned: Option<LearnedLimit>,
    /// When the recently answered requests were sent.
    answered: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct LearnedLimit {
    most: f64,
    cut_at: Instant,
}

impl ConcurrencyLimit {
    /// Whether another request may be sent; if not, when it may even if none in flight ends.
    pub(super) fn room(&self, in_flight: usize, now: Instant) -> Result<(), Instant> {
        match self.remembered(now) {
            Some(learned) if in_flight as f64 + 1.0 > learned.most => Err(learned.cut_at + MEMORY),
            Some(_) | None => Ok(()),
        }
    }

    /// The fraction of the connections that may be used.
    pub(super) fn share(&self, connections: usize, now: Instant) -> f64 {
        self.remembered(now).map_or(1.0, |learned| (learned.most / connections as f64).min(1.0))
    }

    /// Whether no timeout is remembered.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.remembered(now).is_none()
    }

    /// Records that a request sent at `sent` timed out. It still counts among those in flight. `least` always
    /// remains.
    pub(super) fn timed_out(&mut self, sent: Instant, in_flight: usize, least: f64, now: Instant) {
        if self.answered.iter().filter(|at| **at > sent).count() > in_flight {
            return;
        }
        let most = match self.remembered(now) {
            Some(learned) if sent <= learned.cut_at => return,
            Some(learned) => learned.most.min(in_flight as f64),
            None => in_flight as f64,
        };
        self.learned = Some(LearnedLimit { most: (most * CUT).max(least), cut_at: now });
    }

    /// Records a response to a request sent at `sent`. `connections` is their total number.
    pub(super) fn answered(&mut self, sent: Instant, connections: usize, now: Instant) {
        if self.answered.len() == MOST_ANSWERS {
            self.answered.pop_front();
        }
        self.answered.push_back(sent);
        self.learned = self.remembered(now).map(|learned| match sent > learned.cut_at {
            true => LearnedLimit { most: learned.most + 1.0 / learned.most, ..learned },
            false => learned,
        });
        self.learned = self.learned.filter(|learned| learned.most < connections as f64);
    }

    fn remembered(&self, now: Instant) -> Option<LearnedLimit> {
        self.learned.filter(|learned| now.saturating_duration_since(learned.cut_at) < MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The number that may be in flight now.
    fn most(concurrency_limit: &ConcurrencyLimit, now: Instant) -> usize {
        (0..100).find(|in_flight| concurrency_limit.room(*in_flight, now).is_err()).unwrap_or(100)
    }

    #[test]
    fn a_burst_of_timeouts_counts_once() {
        let sent = Instant::now();
        let now = sent + SECOND;
        let mut concurrency_limit = ConcurrencyLimit::default();
        (0..20).rev().for_each(|others| concurrency_limit.timed_out(sent, others + 1, LEAST, now));
        assert_eq!(most(&concurrency_limit, now), 14);
    }

    #[test]
    fn consecutive_timeouts_leave_a_few() {
        for (least, left) in [(LEAST, 4), (LEAST_OF_AGENT, 1)] {
            let mut now = Instant::now();
            let mut concurrency_limit = ConcurrencyLimit::default();
            for _ in 0..20 {
                let sent = now + SECOND;
                now += SECOND * 2;
                concurrency_limit.timed_out(sent, 32, least, now);
            }
            assert_eq!(most(&concurrency_limit, now), left);
        }
    }

    #[test]
    fn a_hanging_request_does_not_count_while_others_are_answered() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        (0..9).for_each(|_| concurrency_limit.answered(now + SECOND, 32, now + SECOND * 2));
        concurrency_limit.timed_out(now, 8, LEAST, now + SECOND * 15);
        assert_eq!(most(&concurrency_limit, now + SECOND * 15), 100);
        concurrency_limit.timed_out(now + SECOND, 8, LEAST, now + SECOND * 16);
        assert_eq!(most(&concurrency_limit, now + SECOND * 16), 5, "they were sent no later");
    }

    #[test]
    fn as_many_responses_as_requests_in_flight_allow_one_more() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        concurrency_limit.timed_out(now, 10, LEAST, now + SECOND);
        assert_eq!(most(&concurrency_limit, now + SECOND), 7);
        let sent = now + SECOND * 2;
        (0..8).for_each(|_| concurrency_limit.answered(sent, 32, sent + SECOND));
        assert_eq!(most(&concurrency_limit, sent + SECOND), 8);
        (0..600).for_each(|_| concurrency_limit.answered(sent, 32, sent + SECOND));
        assert_eq!(most(&concurrency_limit, sent + SECOND), 100, "without a limit again");
    }

    #[test]
    fn requests_sent_before_a_cut_do_not_count() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        concurrency_limit.timed_out(now, 10, LEAST, now + SECOND);
        (0..100).for_each(|_| concurrency_limit.answered(now, 32, now + SECOND * 2));
        assert_eq!(most(&concurrency_limit, now + SECOND * 2), 7);
    }

    #[test]
    fn forgets_a_timeout_after_a_minute() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        concurrency_limit.timed_out(now, 4, LEAST, now);
        assert_eq!(concurrency_limit.room(4, now), Err(now + MEMORY));
        assert_eq!(concurrency_limit.room(4, now + MEMORY), Ok(()));
        assert_eq!(concurrency_limit.share(32, now + MEMORY), 1.0);
    }
}
