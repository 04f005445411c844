use std::time::Duration;

use tokio::time::Instant;

/// What a 429 leaves of the rate.
const CUT_BY_LIMIT: f64 = 0.5;

/// What a time-out leaves of it: slowness has other causes than too many requests.
const CUT_BY_TIME_OUT: f64 = 0.8;

/// What always remains: a budget that learned to be nothing would learn nothing more.
const FLOOR: f64 = 1.0 / 16.0;

/// What a success gives back: from half to all in 250 successes, some 40 s at 450 a minute.
const CREEP: f64 = 0.002;

/// The first pause after a 429 that proposes none, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that was not asked for: half the minute that upstream counts by.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How fast a budget is used: what was learned of upstream's true limit, which others may use up too.
///
/// One volley of refusals is one lesson: answers to what was sent before the last cut teach nothing new. Pure: the clock
/// and the jitter are handed in.
#[derive(Debug)]
pub(super) struct Pace {
    share: f64,
    cut_at: Option<Instant>,
    paused_until: Option<Instant>,
    /// Cuts by 429 in a row.
    refusals: u32,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { share: 1.0, cut_at: None, paused_until: None, refusals: 0 }
    }

    /// The part of the budget that may be used.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// Until when nothing may go, if that is to come.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Upstream answered 429 to what was sent then. `jitter` is from 0 to 1.
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
                longest.mul_f64(jitter)
            }
            None => Duration::ZERO,
        };
        self.refusals = self.refusals.saturating_add(u32::from(is_new));
        self.paused_until = self.paused_until.max(Some(now + pause));
    }

    /// Upstream did not answer in time.
    pub(super) fn timed_out(&mut self, sent: Instant, now: Instant) {
        self.cut(sent, now, CUT_BY_TIME_OUT);
    }

    /// Upstream answered.
    pub(super) fn succeeded(&mut self, sent: Instant) {
        self.share = (self.share + CREEP).min(1.0);
        if self.cut_at.is_none_or(|cut| sent > cut) {
            self.refusals = 0;
        }
    }

    fn cut(&mut self, sent: Instant, now: Instant, to: f64) -> bool {
        let is_new = self.cut_at.is_none_or(|cut| sent > cut);
        if is_new {
            self.share = (self.share * to).max(FLOOR);
            self.cut_at = Some(now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_volley_of_refusals_is_one_lesson() {
        let sent = Instant::now();
        let mut pace = Pace::new();
        for _ in 0..8 {
            pace.limited(sent, sent + secs(1), None, 1.0);
        }
        assert_eq!(pace.share(), 0.5);
        assert_eq!(pace.paused_until(sent), Some(sent + secs(2)));
    }

    #[test]
    fn refusals_in_a_row_pause_longer_and_never_stop_for_good() {
        let mut now = Instant::now();
        let mut pace = Pace::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.limited(now, now + secs(1), None, 1.0);
            let until = pace.paused_until(now + secs(1)).unwrap();
            pauses.push((until - now - secs(1)).as_secs());
            now = until + secs(1);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pace.share(), FLOOR);
    }

    #[test]
    fn what_upstream_asks_for_is_kept_and_never_shortened() {
        let now = Instant::now();
        let mut pace = Pace::new();
        pace.limited(now, now, Some(secs(20)), 0.0);
        pace.limited(now, now + secs(1), Some(secs(5)), 0.0);
        assert_eq!(pace.paused_until(now), Some(now + secs(20)));
        assert_eq!(pace.paused_until(now + secs(20)), None);
    }

    #[test]
    fn successes_bring_the_rate_back_and_no_further() {
        let now = Instant::now();
        let mut pace = Pace::new();
        pace.limited(now, now, None, 0.0);
        for _ in 0..100 {
            pace.succeeded(now + secs(1));
        }
        assert!(pace.share() > 0.69 && pace.share() < 0.71);
        for _ in 0..1_000 {
            pace.succeeded(now + secs(1));
        }
        assert_eq!(pace.share(), 1.0);
    }

    #[test]
    fn a_time_out_slows_less_and_pauses_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new();
        pace.timed_out(now, now + secs(15));
        assert_eq!(pace.share(), CUT_BY_TIME_OUT);
        assert_eq!(pace.paused_until(now), None);
    }
}
