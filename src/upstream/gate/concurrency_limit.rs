use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What a time-out leaves of the requests in flight.
const CUT: f64 = 0.7;

/// What always remains of all: some that hang do not keep all others waiting.
pub(super) const LEAST: f64 = 4.0;

/// What always remains of an agent's: one, to see whether it is still so.
pub(super) const LEAST_OF_AGENT: f64 = 1.0;

/// The most answers that are remembered; more than there are connections tell nothing more.
const MOST_ANSWERS: usize = 1024;

/// How long a time-out is remembered: four attempts of the usual length without another.
const MEMORY: Duration = Duration::from_secs(60);

/// How many requests of a lane may be in flight: what was learned from time-outs.
///
/// An upstream that is too slow is not helped by requests that follow each other less quickly while all of them wait, but
/// by fewer that wait. So a time-out cuts how many may be in flight, and every answer allows a part of one more,
/// so that after as many answers as are in flight it is one: additive increase, multiplicative decrease. One volley of time-outs
/// is one lesson. One question that upstream can't answer is none, as long as more others are answered meanwhile than are in flight.
/// Pure: the clock is handed in.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyLimit {
    learned: Option<LearnedLimit>,
    /// When those that were answered of late were sent.
    answered: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct LearnedLimit {
    most: f64,
    cut_at: Instant,
}

impl ConcurrencyLimit {
    /// Whether another request may go; if not, when it may although none of those in flight ends.
    pub(super) fn room(&self, in_flight: usize, now: Instant) -> Result<(), Instant> {
        match self.remembered(now) {
            Some(learned) if in_flight as f64 + 1.0 > learned.most => Err(learned.cut_at + MEMORY),
            Some(_) | None => Ok(()),
        }
    }

    /// The part of so many connections that may be used.
    pub(super) fn share(&self, connections: usize, now: Instant) -> f64 {
        self.remembered(now).map_or(1.0, |learned| (learned.most / connections as f64).min(1.0))
    }

    /// Whether no time-out is remembered.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.remembered(now).is_none()
    }

    /// What was sent then was not answered in time. It still counts among those in flight. `least` always remains.
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

    /// Upstream answered what was sent then. `connections` is how many there are.
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

    /// How many may be in flight now.
    fn most(concurrency_limit: &ConcurrencyLimit, now: Instant) -> usize {
        (0..100).find(|in_flight| concurrency_limit.room(*in_flight, now).is_err()).unwrap_or(100)
    }

    #[test]
    fn a_volley_of_time_outs_is_one_lesson() {
        let sent = Instant::now();
        let now = sent + SECOND;
        let mut concurrency_limit = ConcurrencyLimit::default();
        (0..20).rev().for_each(|others| concurrency_limit.timed_out(sent, others + 1, LEAST, now));
        assert_eq!(most(&concurrency_limit, now), 14);
    }

    #[test]
    fn time_outs_in_a_row_leave_a_few() {
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
    fn what_hangs_while_others_are_answered_is_no_lesson() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        (0..9).for_each(|_| concurrency_limit.answered(now + SECOND, 32, now + SECOND * 2));
        concurrency_limit.timed_out(now, 8, LEAST, now + SECOND * 15);
        assert_eq!(most(&concurrency_limit, now + SECOND * 15), 100);
        concurrency_limit.timed_out(now + SECOND, 8, LEAST, now + SECOND * 16);
        assert_eq!(most(&concurrency_limit, now + SECOND * 16), 5, "they were sent no later");
    }

    #[test]
    fn as_many_answers_as_are_in_flight_allow_one_more() {
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
    fn what_was_sent_before_a_cut_teaches_nothing() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        concurrency_limit.timed_out(now, 10, LEAST, now + SECOND);
        (0..100).for_each(|_| concurrency_limit.answered(now, 32, now + SECOND * 2));
        assert_eq!(most(&concurrency_limit, now + SECOND * 2), 7);
    }

    #[test]
    fn a_time_out_is_forgotten_after_a_while() {
        let now = Instant::now();
        let mut concurrency_limit = ConcurrencyLimit::default();
        concurrency_limit.timed_out(now, 4, LEAST, now);
        assert_eq!(concurrency_limit.room(4, now), Err(now + MEMORY));
        assert_eq!(concurrency_limit.room(4, now + MEMORY), Ok(()));
        assert_eq!(concurrency_limit.share(32, now + MEMORY), 1.0);
    }
}
