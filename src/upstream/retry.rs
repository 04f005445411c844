//! Decides whether and when a failed attempt is followed by another.

use std::time::Duration;

use tokio::time::Instant;

/// The most attempts at one page. Needed because a stream has no deadline, and waits for the budget don't
/// count.
const MOST_ATTEMPTS: u32 = 10;

/// The most 429s of one page without a deadline. They don't count as attempts: the gate spaces requests so
/// that most pages meet none, and if upstream refuses everything, the gate refuses all waiting requests.
const MOST_REFUSALS: u32 = 20;

/// The longest first wait; it doubles with every attempt.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait that upstream did not ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The longest rest of the breaker that is waited out: an upstream that restarts is back by then. Longer ones
/// are reported to the caller at once.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Why an attempt failed, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Another attempt would fail in the same way.
    Final,
    /// 429. The gate has learned from it, and decides when the next request goes.
    Limited,
    /// 5xx, 408, a timeout, a broken transport. Upstream may have asked for a pause.
    Transient(Option<Duration>),
    /// An idle connection turned out to be dead, so upstream did not see the request.
    IdleConnection,
    /// A success that is not a page, or a redirect: proxies may respond like this for a moment.
    Malformed,
    /// A response to another request. The next attempt uses a separate connection.
    Mismatch,
    /// The breaker is open for this long. Retried only if that is short.
    Down(Duration),
}

/// The attempts at one page so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    limited: u32,
    malformed: u32,
    idle: u32,
    mismatches: u32,
    /// Time spent on attempts and between them, without waits for the budget.
    pub(super) spent: Duration,
}

/// What bounds the attempts at one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryLimits {
    /// See [`crate::source::RequestContext::retry_for`].
    pub(super) retry_for: Duration,
    /// How long the caller still waits for the response; `None` for a stream.
    pub(super) until_deadline: Option<Duration>,
}

impl Tries {
    /// Whether a connection has already died before any byte of a response.
    pub(super) const fn had_dead_connection(&self) -> bool {
        self.idle > 0
    }

    /// Whether a response to another request has already been received.
    pub(super) const fn had_mismatch(&self) -> bool {
        self.mismatches > 0
    }

    /// The number of failed attempts.
    pub(super) const fn made(&self) -> u32 {
        self.failed + self.limited
    }

    /// How long to wait before the next attempt; `None` if there is no other. `jitter` is from 0 to 1.
    ///
    /// Waits are spread over their full length (full jitter), so that callers that failed together do not
    /// return together. A wait that upstream or the breaker asks for is a lower bound; if it does not fit,
    /// there are no more attempts.
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
                self.mismatches += 1;
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

/// The retry budget of the process: a share of its successes, and some more as time passes.
///
/// Without it an outage multiplies the load while upstream tries to recover. Retries after a 429 are free,
/// because the gate paces them.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: f64,
    at: Instant,
}

impl RetryBudget {
    /// The initial and maximum balance.
    const MOST: f64 = 20.0;
    /// The deposit for a success.
    const BY_SUCCESS: f64 = 0.5;
    /// The deposit for a second: a lone caller still has retries after an outage.
    const BY_SECOND: f64 = 1.0;

    pub(super) const fn new(now: Instant) -> Self {
        Self { tokens: Self::MOST, at: now }
    }

    /// Records that a request succeeded.
    pub(super) const fn deposit(&mut self) {
        self.tokens = (self.tokens + Self::BY_SUCCESS).min(Self::MOST);
    }

    /// Takes one retry, if there is one.
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
    fn never_retries_without_time_for_it() {
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
    fn waits_as_long_as_asked_if_it_fits() {
        let asked = Cause::Transient(Some(SECOND * 3));
        assert_eq!(next(&mut Tries::default(), asked, LIMITS), Some(SECOND * 3));
        let soon = RetryLimits { until_deadline: Some(SECOND * 2), ..LIMITS };
        assert_eq!(next(&mut Tries::default(), asked, soon), None);
        assert_eq!(next(&mut Tries::default(), Cause::Down(SECOND * 30), LIMITS), None);
    }

    #[test]
    fn waits_only_briefly_for_an_upstream_that_is_down() {
        let patient = RetryLimits { retry_for: SECOND * 50, ..LIMITS };
        assert!(next(&mut Tries::default(), Cause::Down(SECOND * 2), patient).is_some());
        assert_eq!(next(&mut Tries::default(), Cause::Down(SECOND * 4), patient), None);
    }

    #[test]
    fn retries_429_until_the_deadline_or_a_maximum() {
        let mut tries = Tries::default();
        let timed = RetryLimits { until_deadline: Some(SECOND), ..LIMITS };
        assert!((0..1000).all(|_| next(&mut tries, Cause::Limited, timed) == Some(Duration::ZERO)));
        let over = RetryLimits { until_deadline: Some(Duration::ZERO), ..LIMITS };
        assert_eq!(next(&mut tries, Cause::Limited, over), None);
        let mut tries = Tries::default();
        let without = std::iter::from_fn(|| next(&mut tries, Cause::Limited, LIMITS)).count();
        assert_eq!(without, MOST_REFUSALS as usize - 1);
        // Other failures still have all their attempts.
        assert!(next(&mut tries, Cause::Transient(None), LIMITS).is_some());
    }

    #[test]
    fn retries_a_malformed_response_once() {
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
    fn the_budget_limits_retries_in_an_outage() {
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
