//! Learns upstream's real limit, and spaces requests accordingly.
//!
//! The configured budget says how many requests upstream may see in a period, if need be in a burst. Upstream
//! may really allow fewer, because others use the same limit or because it counts by the second, and only a
//! 429 tells. Cutting the budget would not help, because a part of a minute's budget still goes out in one
//! burst. So a refusal pauses everything, and afterward requests are sent one by one, at a fraction of the
//! rate that upstream was seen to accept. Every success makes them a little faster and every further refusal
//! slower: additive increase, multiplicative decrease, which settles below an unknown limit. A minute without
//! a refusal ends it.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::settings::Rate;

/// The fraction of the accepted rate that a first 429 leaves, and of the current rate that a further one
/// leaves.
const CUT_BY_LIMIT: f64 = 0.7;

/// The fraction that a timeout leaves: slowness has other causes than too many requests.
const CUT_BY_TIME_OUT: f64 = 0.9;

/// The fraction of the budget's average rate that a first cut leaves at least. A single refusal among few
/// requests says little about how many more would have been accepted.
const FIRST_FLOOR: f64 = 0.5;

/// The fraction that always remains: a rate of nothing would never learn anything again.
const FLOOR: f64 = 1.0 / 16.0;

/// The average rate assumed without a budget: upstream's documented 500 per minute.
const USUAL: Rate = Rate { count: NonZeroU32::new(500).unwrap(), per: Duration::from_secs(60) };

/// The increase for a success, in requests per second. Since successes arrive at the rate itself, it grows by
/// a factor of e in five seconds, whatever it is.
const GROWTH: f64 = 0.2;

/// The period in which successes are counted to find the rate that upstream accepts.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// The most successes that are remembered. More in a second amount to no limit.
const MOST_SUCCESSES: usize = 1024;

/// How long a refusal is remembered: upstream counts by the minute.
const MEMORY: Duration = Duration::from_secs(60);

/// How late a timer may fire without slowing down the requests that it spaces. Timers count in milliseconds.
const LATENESS: Duration = Duration::from_millis(2);

/// The longest first pause after a 429 without `Retry-After`; jitter takes up to half of it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that upstream did not ask for. Pauses double up to it, so that five exceed the minute by
/// which upstream counts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The rate of requests after a refusal.
///
/// A burst of refusals counts once: responses to requests sent before the last cut teach nothing new. Pure:
/// the clock and the jitter are parameters.
#[derive(Debug)]
pub(super) struct AdaptiveRate {
    /// The budget's average rate, in requests per second.
    average: f64,
    /// The learned rate; `None` if nothing was learned or it has expired.
    learned: Option<LearnedRate>,
    paused_until: Option<Instant>,
    /// Since when upstream has responded only with 429.
    refused_since: Option<Instant>,
    /// The period after which upstream's own count has moved on.
    period: Duration,
    /// Consecutive cuts by 429.
    refusals: u32,
    /// The times of the latest successes.
    successes: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct LearnedRate {
    /// Requests per second.
    speed: f64,
    /// The rate before the first cut.
    before: f64,
    cut_at: Instant,
    /// When the next request may be sent.
    next: Instant,
}

impl AdaptiveRate {
    pub(super) fn new(budget: Option<Rate>) -> Self {
        let Rate { count, per } = budget.unwrap_or(USUAL);
        Self {
            average: f64::from(count.get()) / per.as_secs_f64(),
            learned: None,
            paused_until: None,
            refused_since: None,
            period: per,
            refusals: 0,
            successes: VecDeque::new(),
        }
    }

    /// A copy that has only the successes of another: what is learned about one agent starts from the common
    /// rate.
    pub(super) fn beside(other: &Self) -> Self {
        let successes = other.successes.clone();
        Self { average: other.average, period: other.period, successes, ..Self::new(None) }
    }

    /// Whether nothing slows requests down.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.remembered(now).is_none() && self.paused_until(now).is_none()
    }

    /// The current rate as a fraction of the rate before the first refusal; 1 if no refusal is remembered.
    pub(super) fn share(&self, now: Instant) -> f64 {
        self.remembered(now).map_or(1.0, |learned| (learned.speed / learned.before).min(1.0))
    }

    /// The end of the current pause, if there is one.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Whether upstream is pausing requests and has refused all of them for longer than `patience` and than
    /// its own period. Waiting on is then pointless.
    pub(super) fn is_barren(&self, patience: Duration, now: Instant) -> bool {
        let refused_for = self.refused_since.map(|since| now.saturating_duration_since(since));
        self.paused_until(now).is_some()
            && refused_for.is_some_and(|length| length >= patience.max(self.period))
    }

    /// When a request may be sent after `ahead` others, if that is in the future.
    pub(super) fn next(&self, ahead: usize, now: Instant) -> Option<Instant> {
        let paced = self.remembered(now).map(|learned| {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            learned.next.max(now) + learned.gap().saturating_mul(ahead).min(MEMORY)
        });
        self.paused_until.max(paced).filter(|at| *at > now)
    }

    /// Records that a request is sent.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(learned) = &mut self.learned {
            let due = now.checked_sub(LATENESS).map_or(now, |earliest| learned.next.max(earliest));
            learned.next = due + learned.gap();
        }
    }

    /// Records a 429 for a request sent at `sent`. `jitter` is from 0 to 1.
    pub(super) fn limited(
        &mut self,
        sent: Instant,
        now: Instant,
        retry_after: Option<Duration>,
        jitter: f64,
    ) {
        let is_new = self.cut(sent, now, CUT_BY_LIMIT);
        let pause = match retry_after {
            Some(asked) => asked,
            None if is_new => {
                let longest = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(10)).min(LONGEST_PAUSE);
                longest.mul_f64(0.5 + jitter / 2.0)
            }
            None => Duration::ZERO,
        };
        self.refusals = self.refusals.saturating_add(u32::from(is_new));
        // A refusal long after the last pause starts a new series: nothing was sent in between.
        let has_lapsed = self.paused_until.is_some_and(|until| now > until + MEMORY);
        self.refused_since = self.refused_since.filter(|_| !has_lapsed).or(Some(now));
        let until = now + pause;
        self.paused_until = self.paused_until.max(Some(until));
        if let Some(learned) = &mut self.learned {
            learned.next = learned.next.max(until);
        }
    }

    /// Records a timeout. Slows down only requests that are already spaced: the number of requests that wait
    /// for a slow upstream is bounded by the connections.
    pub(super) fn timed_out(&mut self, sent: Instant, now: Instant) {
        if self.remembered(now).is_some() {
            self.cut(sent, now, CUT_BY_TIME_OUT);
        }
    }

    /// Records a success.
    pub(super) fn succeeded(&mut self, sent: Instant, now: Instant) {
        if self.successes.len() == MOST_SUCCESSES {
            self.successes.pop_front();
        }
        self.successes.push_back(now);
        self.refused_since = None;
        let Some(mut learned) = self.remembered(now) else {
            self.learned = None;
            self.refusals = 0;
            return;
        };
        learned.speed += GROWTH;
        // The next time was computed with the previous rate.
        learned.next = learned.next.min(now + learned.gap());
        self.learned = Some(learned);
        if sent > learned.cut_at {
            self.refusals = 0;
        }
    }

    fn remembered(&self, now: Instant) -> Option<LearnedRate> {
        self.learned.filter(|learned| now.saturating_duration_since(learned.cut_at) < MEMORY)
    }

    /// Slows down, if the request was sent after the last cut.
    fn cut(&mut self, sent: Instant, now: Instant, to: f64) -> bool {
        let learned = match self.remembered(now) {
            Some(learned) if sent <= learned.cut_at => return false,
            Some(learned) => {
                let speed = (learned.speed * to).max(self.average * FLOOR);
                LearnedRate { speed, cut_at: now, ..learned }
            }
            None => {
                let before = self.accepted(now).max(self.average * FIRST_FLOOR / to);
                LearnedRate { speed: before * to, before, cut_at: now, next: now }
            }
        };
        self.learned = Some(learned);
        true
    }

    /// The requests per second that upstream recently accepted.
    fn accepted(&mut self, now: Instant) -> f64 {
        while self.successes.front().is_some_and(|at| now.saturating_duration_since(*at) > LOOK_BACK) {
            self.successes.pop_front();
        }
        self.successes.len() as f64 / LOOK_BACK.as_secs_f64()
    }
}

impl LearnedRate {
    /// The time between two requests.
    fn gap(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// An average of 8 per second.
    fn adaptive_rate() -> AdaptiveRate {
        AdaptiveRate::new(Some(Rate { count: NonZeroU32::new(480).unwrap(), per: secs(60) }))
    }

    #[test]
    fn a_burst_of_refusals_counts_once() {
        let sent = Instant::now();
        let now = sent + secs(1);
        let mut adaptive_rate = adaptive_rate();
        (0..10).for_each(|_| adaptive_rate.succeeded(sent, now));
        for _ in 0..8 {
            adaptive_rate.limited(sent, now, None, 1.0);
        }
        assert_eq!(adaptive_rate.share(now), CUT_BY_LIMIT);
        assert_eq!(adaptive_rate.paused_until(sent), Some(sent + secs(2)));
        // Seven per second, from the end of the pause.
        let gap = Duration::from_secs_f64(1.0 / 7.0);
        adaptive_rate.sent(now + secs(1));
        assert_eq!(adaptive_rate.next(0, now + secs(1)), Some(now + secs(1) + gap));
        assert_eq!(adaptive_rate.next(2, now + secs(1)), Some(now + secs(1) + gap * 3));
    }

    #[test]
    fn consecutive_refusals_pause_longer_but_never_for_good() {
        let mut now = Instant::now();
        let mut adaptive_rate = adaptive_rate();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            adaptive_rate.limited(now, now, None, 1.0);
            let until = adaptive_rate.paused_until(now).unwrap();
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses[..6], [1, 2, 4, 8, 15, 15]);
        adaptive_rate.sent(now);
        assert_eq!(adaptive_rate.next(0, now), Some(now + secs(2)));
    }

    #[test]
    fn a_refusal_of_the_first_request_does_not_slow_to_a_crawl() {
        let now = Instant::now();
        let mut adaptive_rate = adaptive_rate();
        adaptive_rate.limited(now, now, None, 0.0);
        let later = now + FIRST_PAUSE / 2;
        adaptive_rate.sent(later);
        assert_eq!(adaptive_rate.next(0, later), Some(later + Duration::from_millis(250)));
    }

    #[test]
    fn never_shortens_a_pause_that_upstream_asked_for() {
        let now = Instant::now();
        let mut adaptive_rate = adaptive_rate();
        adaptive_rate.limited(now, now, Some(secs(20)), 0.0);
        adaptive_rate.limited(now, now + secs(1), Some(secs(5)), 0.0);
        assert_eq!(adaptive_rate.paused_until(now), Some(now + secs(20)));
        assert_eq!(adaptive_rate.paused_until(now + secs(20)), None);
    }

    #[test]
    fn forgets_a_refusal_after_a_minute_without_another() {
        let now = Instant::now();
        let mut adaptive_rate = adaptive_rate();
        adaptive_rate.limited(now, now, None, 0.0);
        adaptive_rate.sent(now + MEMORY);
        assert_eq!(adaptive_rate.share(now + MEMORY), 1.0);
        assert_eq!(adaptive_rate.next(100, now + MEMORY), None);
    }

    #[test]
    fn never_waits_out_endless_refusals() {
        let start = Instant::now();
        let (mut now, mut adaptive_rate) = (start, adaptive_rate());
        while !adaptive_rate.is_barren(secs(50), now) {
            assert!(now - start < secs(90));
            adaptive_rate.limited(now, now, None, 1.0);
            now = adaptive_rate.paused_until(now).unwrap() - Duration::from_millis(1);
            if !adaptive_rate.is_barren(secs(50), now) {
                now += Duration::from_millis(1);
            }
        }
        assert!(now - start >= secs(60), "upstream counts by the minute");
        assert!(
            !adaptive_rate.is_barren(secs(50), now + secs(1)),
            "once the pause is over, a request may try"
        );
        adaptive_rate.succeeded(now, now);
        adaptive_rate.limited(now, now, None, 1.0);
        assert!(!adaptive_rate.is_barren(secs(50), now));
        let later = now + MEMORY * 3;
        adaptive_rate.limited(later, later, None, 1.0);
        assert!(!adaptive_rate.is_barren(secs(50), later), "nothing was sent for long");
    }

    #[test]
    fn settles_below_an_unknown_limit() {
        // Upstream accepts 8 in any second, and also counts those that it refuses.
        let start = Instant::now();
        let (mut now, mut adaptive_rate) = (start, adaptive_rate());
        let (mut seen, mut accepted, mut refused) = (VecDeque::new(), 0, 0);
        while now - start < secs(30) {
            now = adaptive_rate.next(0, now).unwrap_or(now + Duration::from_millis(2));
            adaptive_rate.sent(now);
            seen.push_back(now);
            while seen.front().is_some_and(|at| now - *at >= secs(1)) {
                seen.pop_front();
            }
            if seen.len() > 8 {
                refused += 1;
                adaptive_rate.limited(now, now, None, 0.5);
            } else {
                accepted += 1;
                adaptive_rate.succeeded(now, now);
            }
        }
        assert!(accepted > 30 * 4 && refused < accepted / 8, "{accepted} accepted, {refused} refused");
    }

    #[test]
    fn a_timeout_slows_only_requests_that_are_already_spaced() {
        let now = Instant::now();
        let mut adaptive_rate = adaptive_rate();
        adaptive_rate.timed_out(now, now + secs(15));
        assert_eq!(adaptive_rate.share(now + secs(15)), 1.0);
        adaptive_rate.limited(now, now + secs(15), None, 0.0);
        let before = adaptive_rate.share(now + secs(16));
        adaptive_rate.timed_out(now + secs(16), now + secs(31));
        assert_eq!(adaptive_rate.share(now + secs(31)), before * CUT_BY_TIME_OUT);
    }
}
