//! Whether a failed attempt is followed by another, and when.

use std::time::Duration;

use tokio::time::Instant;

/// The most attempts at one page. A stream has no deadline, and waits for the budget do not count: something must end it.
const MOST_ATTEMPTS: u32 = 10;

/// The most refusals by 429 of one page that has no deadline. They are not among the attempts: the gate spaces them so that
/// most pages meet none, and where upstream refuses everything it says so to all in line.
const MOST_REFUSALS: u32 = 20;

/// The longest first wait; it doubles with every attempt.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait that was not asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The longest rest of the breaker that is waited out: an upstream that starts anew is there again. Longer ones are told
/// to whoever asks, at once.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Why an attempt failed, as far as another depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing would change.
    Final,
    /// 429: the gate has learned, and says when the next one goes.
    Limited,
    /// 5xx, 408, a time-out, a broken transport; upstream may have said for how long.
    Transient(Option<Duration>),
    /// A connection that was idle turned out to be dead: the request was not seen.
    IdleConnection,
    /// A success that is no page, or a redirect: proxies answer so for a moment.
    Malformed,
    /// A response to another request. The next attempt has a connection of its own.
    Mismatch,
    /// The breaker is open for so long. Tried again only where that is a moment.
    Down(Duration),
}

/// The attempts at one page so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    limited: u32,
    malformed: u32,
    idle: u32,
    misfits: u32,
    /// Time spent on attempts and between them, waits for the budget not counted.
    pub(super) spent: Duration,
}

/// What bounds the attempts at one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryLimits {
    /// See [`crate::source::RequestContext::retry_for`].
    pub(super) retry_for: Duration,
    /// How long until the answer is of no use; none for a stream.
    pub(super) until_deadline: Option<Duration>,
}

impl Tries {
    /// Whether a connection had died already before it brought anything of an answer.
    pub(super) const fn had_dead_connection(&self) -> bool {
        self.idle > 0
    }

    /// Whether an answer to another question came already.
    pub(super) const fn had_misfit(&self) -> bool {
        self.misfits > 0
    }

    /// How many attempts have failed.
    pub(super) const fn made(&self) -> u32 {
        self.failed + self.limited
    }

    /// How long to wait before the next attempt; none for no other. `jitter` is from 0 to 1.
    ///
    /// Waits are spread over all of their length (full jitter): callers that failed together do not return together.
    /// A wait that upstream or the breaker asks for is a lower bound, and one that does not fit ends the attempts at once.
    pub(super) fn next(
        &mut self,
        cause: Cause,
        limits: RetryLimits,
        budget: &mut RetryBudget,
        now: Instant,
        jitter: f64,
    ) -> Option<Duration> {
        let left = limits.retry_for.checked_sub(self.spent).filter(|l| !l.is_zero())?;
        let is_last = if cause == Cause::Limited {
            self.limited += 1;
            limits.until_deadline.is_none() && self.limited >= MOST_REFUSALS
        } else {
            self.failed += 1;
            self.failed >= MOST_ATTEMPTS
        };
        if is_last {
            return None;
        }
        let spread = FIRST_WAIT
            .saturating_mul(1 << self.failed.saturating_sub(1).min(10))
            .min(LONGEST_WAIT)
            .mul_f64(jitter);
        let (wait, is_charged) = match cause {
            Cause::Final => return None,
            Cause::Limited => (Duration::ZERO, false),
            Cause::Down(rest) if rest > LONGEST_REST => return None,
            Cause::Down(rest) => (rest + spread, false),
            Cause::Transient(asked) => (spread.max(asked.unwrap_or_default()), true),
            Cause::Malformed => {
                self.malformed += 1;
                if self.malformed > 1 {
                    return None;
                }
                (spread, true)
            }
            Cause::Mismatch => {
                self.misfits += 1;
                (Duration::ZERO, false)
            }
            Cause::IdleConnection => {
                self.idle += 1;
                if self.idle == 1 { (Duration::ZERO, false) } else { (spread, true) }
            }
        };
        let fits = wait < left && limits.until_deadline.is_none_or(|until| wait < until);
        (fits && (!is_charged || budget.withdraw(now))).then_some(wait)
    }
}

/// How many retries the process may make: a share of its successes, and a few more as time goes by.
///
/// Without it an outage multiplies the load on whoever tries to come back from it. Retries after a 429 are not charged: the gate
/// paces them.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: f64,
    at: Instant,
}

impl RetryBudget {
    /// What is there at first, and at most.
    const MOST: f64 = 20.0;
    /// What a success brings.
    const BY_SUCCESS: f64 = 0.5;
    /// What a second brings: a lone caller after an outage still has its retries.
    const BY_SECOND: f64 = 1.0;

    pub(super) const fn new(now: Instant) -> Self {
        Self { tokens: Self::MOST, at: now }
    }

    /// A request succeeded.
    pub(super) const fn deposit(&mut self) {
        self.tokens = (self.tokens + Self::BY_SUCCESS).min(Self::MOST);
    }

    /// Whether there may be one more.
    fn withdraw(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + since * Self::BY_SECOND).min(Self::MOST);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: RetryLimits = RetryLimits { retry_for: Duration::from_secs(10), until_deadline: None };

    fn next(tries: &mut Tries, cause: Cause, limits: RetryLimits) -> Option<Duration> {
        let now = Instant::now();
        tries.next(cause, limits, &mut RetryBudget::new(now), now, 1.0)
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut tries = Tries::default();
        let waits: Vec<_> = std::iter::from_fn(|| next(&mut tries, Cause::Transient(None), LIMITS))
            .map(|w| w.as_millis())
            .collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
    }

    #[test]
    fn nothing_is_retried_without_time_for_it() {
        for cause in [
            Cause::Limited,
            Cause::Transient(None),
            Cause::IdleConnection,
            Cause::Malformed,
            Cause::Mismatch,
            Cause::Down(SECOND),
        ] {
            let none = RetryLimits { retry_for: Duration::ZERO, ..LIMITS };
            assert_eq!(next(&mut Tries::default(), cause, none), None, "{cause:?}");
            let mut spent = Tries { spent: LIMITS.retry_for, ..Tries::default() };
            assert_eq!(next(&mut spent, cause, LIMITS), None, "{cause:?}");
        }
    }

    #[test]
    fn a_refusal_is_final() {
        assert_eq!(next(&mut Tries::default(), Cause::Final, LIMITS), None);
    }

    #[test]
    fn what_is_asked_for_is_waited_if_it_fits() {
        let asked = Cause::Transient(Some(SECOND * 3));
        assert_eq!(next(&mut Tries::default(), asked, LIMITS), Some(SECOND * 3));
        let soon = RetryLimits { until_deadline: Some(SECOND * 2), ..LIMITS };
        assert_eq!(next(&mut Tries::default(), asked, soon), None);
        assert_eq!(next(&mut Tries::default(), Cause::Down(SECOND * 30), LIMITS), None);
    }

    #[test]
    fn an_upstream_that_is_down_is_waited_for_only_shortly() {
        let patient = RetryLimits { retry_for: SECOND * 50, ..LIMITS };
        assert!(next(&mut Tries::default(), Cause::Down(SECOND * 2), patient).is_some());
        assert_eq!(next(&mut Tries::default(), Cause::Down(SECOND * 4), patient), None);
    }

    #[test]
    fn refusals_by_429_end_with_the_deadline_or_after_many() {
        let mut tries = Tries::default();
        let timed = RetryLimits { until_deadline: Some(SECOND), ..LIMITS };
        assert!((0..1000).all(|_| next(&mut tries, Cause::Limited, timed) == Some(Duration::ZERO)));
        let over = RetryLimits { until_deadline: Some(Duration::ZERO), ..LIMITS };
        assert_eq!(next(&mut tries, Cause::Limited, over), None);
        let mut tries = Tries::default();
        let without = std::iter::from_fn(|| next(&mut tries, Cause::Limited, LIMITS)).count();
        assert_eq!(without, MOST_REFUSALS as usize - 1);
        // What else fails has all its attempts still.
        assert!(next(&mut tries, Cause::Transient(None), LIMITS).is_some());
    }

    #[test]
    fn what_is_malformed_is_retried_once() {
        let mut tries = Tries::default();
        assert!(next(&mut tries, Cause::Malformed, LIMITS).is_some());
        assert_eq!(next(&mut tries, Cause::Malformed, LIMITS), None);
    }

    #[test]
    fn a_dead_idle_connection_costs_no_wait_the_first_time() {
        let mut tries = Tries::default();
        assert_eq!(next(&mut tries, Cause::IdleConnection, LIMITS), Some(Duration::ZERO));
        assert_eq!(next(&mut tries, Cause::IdleConnection, LIMITS), Some(FIRST_WAIT * 2));
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        let mut retries = |now, cause| {
            (0..1000)
                .filter(|_| Tries::default().next(cause, LIMITS, &mut budget, now, 0.5).is_some())
                .count()
        };
        assert_eq!(retries(now, Cause::Transient(None)), 20);
        assert_eq!(retries(now + SECOND * 5, Cause::Transient(None)), 5);
        assert_eq!(retries(now + SECOND * 5, Cause::Limited), 1000);
    }

    #[test]
    fn successes_earn_retries() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        while budget.withdraw(now) {}
        (0..4).for_each(|_| budget.deposit());
        assert!(budget.withdraw(now) && budget.withdraw(now) && !budget.withdraw(now));
    }
}
