//! How a call proceeds: its status at any time.
//!
//! `scheduled → queued → initiated → ringing → in-progress → call-disconnected → completed`, the last step 19
//! s to 13 min after the one before. An attempt that nobody answers may be repeated after 30, 60 and 120
//! minutes, which makes a terminal row live again. Some rows change once more after their end, when costs are
//! settled. All of it is drawn from the row's serial, so the status at any instant can be computed without
//! the earlier ones.

use super::dice::Dice;
use super::facts::Facts;
use super::status::CallStatus;
use crate::domain::CallType;

/// The state of a call at an instant. Instants are microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Its status.
    pub(super) status: CallStatus,
    /// When it last changed.
    pub(super) changed_at: i64,
    /// When the first attempt was made.
    pub(super) initiated_at: Option<i64>,
    /// When the call was answered.
    pub(super) started_at: Option<i64>,
    /// When the call ended.
    pub(super) ended_at: Option<i64>,
    /// How many attempts were repeated.
    pub(super) retries: u8,
    /// How often the row changed after its end.
    pub(super) amendments: u8,
}

/// The complete life of a call.
#[derive(Debug)]
pub(super) struct Life {
    steps: [(i64, CallStatus); MAX_STEPS],
    len: usize,
}

/// Four attempts of at most five steps, two to begin with, and two after the end.
const MAX_STEPS: usize = 24;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// How long upstream waits before it repeats an attempt.
const RETRY_AFTER: [i64; 3] = [30 * MINUTE, 60 * MINUTE, 120 * MINUTE];

impl Life {
    /// The life of the row with this serial.
    pub(super) fn of(agent_seed: u64, serial: u32, created_at: i64, facts: Facts) -> Self {
        let mut dice = Dice::of(&[agent_seed, u64::from(serial), 4]);
        let mut life = Self { steps: [(created_at, CallStatus::Queued); MAX_STEPS], len: 0 };
        let mut at = created_at;
        let is_outbound = facts.call_type == CallType::Outbound;
        if is_outbound && facts.batch.is_none() && dice.happens(15) {
            life.step(at, if dice.happens(300) { CallStatus::Prepared } else { CallStatus::Scheduled });
            at += dice.between(5 * MINUTE, 4 * 24 * 60 * MINUTE);
        }
        life.step(at, CallStatus::Queued);
        let can_repeat =
            matches!(facts.outcome, CallStatus::NoAnswer | CallStatus::Busy | CallStatus::Completed);
        if is_outbound && can_repeat && dice.happens(60) {
            for pause in RETRY_AFTER.into_iter().take(1 + dice.below(3) as usize) {
                at = life.attempt(&mut dice, at, CallStatus::NoAnswer);
                at += 5 * SECOND;
                life.step(at, CallStatus::Rescheduled);
                at += pause;
                life.step(at, CallStatus::Queued);
            }
        }
        at = life.attempt(&mut dice, at, facts.outcome);
        if facts.outcome == CallStatus::Completed && dice.happens(150) {
            at += dice.between(MINUTE, 40 * MINUTE);
            life.step(at, CallStatus::Completed);
        }
        life
    }

    /// Dials, rings, and perhaps talks; gives the instant at which that is over.
    fn attempt(&mut self, dice: &mut Dice, from: i64, outcome: CallStatus) -> i64 {
        let mut at = from;
        if matches!(outcome, CallStatus::BalanceLow | CallStatus::Canceled) {
            at += dice.between(SECOND / 2, 30 * SECOND);
            self.step(at, outcome);
            return at;
        }
        at += dice.between(SECOND / 4, 8 * SECOND);
        self.step(at, CallStatus::Initiated);
        if outcome == CallStatus::Error {
            at += dice.between(SECOND / 2, 4 * SECOND);
            self.step(at, outcome);
            return at;
        }
        at += dice.between(SECOND / 2, 4 * SECOND);
        self.step(at, CallStatus::Ringing);
        at += dice.between(3 * SECOND, 30 * SECOND);
        if outcome == CallStatus::Completed || outcome == CallStatus::Stopped {
            self.step(at, CallStatus::InProgress);
            // Short calls are frequent, long ones rare.
            at += 5 * SECOND + dice.between(0, 600 * SECOND).min(dice.between(0, 600 * SECOND));
        }
        if outcome == CallStatus::Completed {
            self.step(at, CallStatus::CallDisconnected);
            at += dice.between(19 * SECOND, 13 * MINUTE).min(dice.between(19 * SECOND, 13 * MINUTE));
        }
        self.step(at, outcome);
        at
    }

    const fn step(&mut self, at: i64, status: CallStatus) {
        if self.len < MAX_STEPS {
            self.steps[self.len] = (at, status);
            self.len += 1;
        }
    }

    /// The instant after which nothing changes.
    pub(super) const fn settles_at(&self) -> i64 {
        self.steps[self.len.saturating_sub(1)].0
    }

    /// The state of the call at an instant; before its beginning, as at its beginning.
    pub(super) fn at(&self, now: i64) -> Standing {
        let (created_at, first) = self.steps[0];
        let mut standing = Standing {
            status: first,
            changed_at: created_at,
            initiated_at: None,
            started_at: None,
            ended_at: None,
            retries: 0,
            amendments: 0,
        };
        for &(at, status) in self.steps[1..self.len.max(1)].iter().take_while(|(at, _)| *at <= now) {
            if status == CallStatus::Completed && standing.status == CallStatus::Completed {
                standing.amendments += 1;
            } else if status == CallStatus::Initiated {
                standing.initiated_at = standing.initiated_at.or(Some(at));
            } else if status == CallStatus::InProgress {
                standing.started_at = Some(at);
            } else if status == CallStatus::Rescheduled {
                standing.retries += 1;
                standing.ended_at = None;
            }
            if status.is_over() && standing.ended_at.is_none() {
                standing.ended_at = Some(at);
            }
            standing.status = status;
            standing.changed_at = at;
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_life_goes_forward_and_ends_as_drawn() {
        for serial in 0..5_000 {
            let facts = Facts::of(7, serial);
            let life = Life::of(7, serial, 1_000, facts);
            assert!(life.len < MAX_STEPS, "serial {serial} fills the steps");
            assert!(life.steps[..life.len].is_sorted_by_key(|(at, _)| *at));
            assert_eq!(life.at(i64::MAX).status, facts.outcome);
            assert!(!life.at(1_000).status.is_over());
        }
    }

    #[test]
    fn completed_follows_19_seconds_to_13_minutes_after_the_end_of_the_call() {
        let mut seen = 0;
        for serial in 0..5_000 {
            let life = Life::of(7, serial, 0, Facts::of(7, serial));
            for pair in life.steps[..life.len].windows(2) {
                if let [(ended, CallStatus::CallDisconnected), (completed, CallStatus::Completed)] = pair {
                    assert!((19 * SECOND..=13 * MINUTE).contains(&(completed - ended)));
                    seen += 1;
                }
            }
        }
        assert!(seen > 3_000);
    }

    #[test]
    fn some_terminal_rows_become_live_again() {
        let revived = (0..5_000).filter(|&serial| {
            let life = Life::of(7, serial, 0, Facts::of(7, serial));
            life.steps[..life.len]
                .windows(2)
                .any(|p| p[0].1 == CallStatus::NoAnswer && p[1].1 == CallStatus::Rescheduled)
        });
        assert!(revived.count() > 50);
    }
}
