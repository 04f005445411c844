//! Stretches times to live when keeping rows as fresh as promised would exceed the budget.
//!
//! When a caller's share of the budget has almost no room, all times to live of its questions grow together;
//! they shrink again once there is room. The due work then fits the share, and no request waits in vain for
//! its turn. A caller that stays below its share keeps its times. The factor is adjusted by feedback, because
//! future demand is unknown.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{CallerId, Timestamp};
use crate::source::Headroom;

/// By how much times to live grow in a second without room: they double in 14 seconds.
const GROWTH: f64 = 1.05;

/// By how much they shrink in a second with room. This is slower, so that there is room most of the time.
const SHRINKAGE: f64 = 1.04;

/// The maximum factor: ten seconds become nearly three minutes.
const MOST: f64 = 16.0;

/// The longest time without questions that counts as a time without room, because nobody checked.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// How often a caller's room is checked.
const EVERY: Duration = Duration::from_secs(1);

/// The most callers whose room is checked once a second and whose times may be stretched. The room of further
/// callers is checked with each question, and they keep their times.
const MOST_CALLERS: usize = 1_024;

/// The factors by which times to live are stretched.
#[derive(Debug, Default)]
pub(in crate::engine) struct TtlStretch {
    callers: Mutex<HashMap<CallerId, StretchState>>,
}

#[derive(Clone, Copy, Debug)]
struct StretchState {
    factor: f64,
    looked_at: Timestamp,
    told: f64,
}

impl TtlStretch {
    /// The factor for a caller's questions, at least 1. `room` is called at most once a second.
    pub(in crate::engine) fn factor(
        &self,
        caller: CallerId,
        now: Timestamp,
        room: impl FnOnce() -> Headroom,
    ) -> f64 {
        let mut callers = self.callers.lock();
        let state = callers.get(&caller).copied();
        if state.is_some_and(|state| now.since(state.looked_at) < EVERY) {
            return state.map_or(1.0, |state| state.factor);
        }
        // After a time without stretching, only the last second counts.
        let before = state.filter(|state| state.factor > 1.0).unwrap_or(StretchState {
            factor: 1.0,
            looked_at: now.minus(EVERY),
            told: 1.0,
        });
        let seconds = now.since(before.looked_at);
        let factor = match room() {
            Headroom::Short => before.factor * GROWTH.powf(seconds.min(LONGEST_STEP).as_secs_f64()),
            Headroom::Ample => before.factor / SHRINKAGE.powf(seconds.as_secs_f64()),
        };
        let state = StretchState { factor: factor.clamp(1.0, MOST), looked_at: now, ..before }.tell();
        if callers.len() >= MOST_CALLERS && !callers.contains_key(&caller) {
            callers.retain(|_, other| other.factor > 1.0 || now.since(other.looked_at) < EVERY);
        }
        if callers.len() < MOST_CALLERS || callers.contains_key(&caller) {
            callers.insert(caller, state);
            return state.factor;
        }
        1.0
    }

    /// The factor for a caller's questions as last determined, at least 1.
    pub(in crate::engine) fn last(&self, caller: CallerId) -> f64 {
        let callers = self.callers.lock();
        callers.get(&caller).map_or(1.0, |state| state.factor)
    }

    /// The largest factor, at least 1.
    pub(in crate::engine) fn most(&self) -> f64 {
        let callers = self.callers.lock();
        callers.values().map(|state| state.factor).fold(1.0, f64::max)
    }
}

impl StretchState {
    /// Logs each doubling, and the end.
    fn tell(self) -> Self {
        if self.factor >= self.told * 2.0 {
            tracing::warn!(
                target: "fanfold::cache",
                factor = self.factor,
                "More is due than the budget allows: a caller's times to live are stretched."
            );
            Self { told: self.factor, ..self }
        } else if self.factor <= 1.0 && self.told > 1.0 {
            tracing::info!(target: "fanfold::cache", "A caller's times to live are no longer stretched.");
            Self { told: 1.0, ..self }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: CallerId = CallerId::Token([1; 16]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn asked(stretch: &TtlStretch, seconds: std::ops::Range<u64>, room: Headroom) -> f64 {
        seconds.map(|second| stretch.factor(WHO, at(second), || room)).last().unwrap_or(1.0)
    }

    #[test]
    fn times_are_stretched_up_to_a_limit_and_shrink_again() {
        let stretch = TtlStretch::default();
        assert!((asked(&stretch, 0..10, Headroom::Ample) - 1.0).abs() < f64::EPSILON);
        let after_15 = asked(&stretch, 10..25, Headroom::Short);
        assert!((1.9..2.2).contains(&after_15), "{after_15}");
        assert!((asked(&stretch, 25..300, Headroom::Short) - MOST).abs() < f64::EPSILON);
        assert!((stretch.most() - MOST).abs() < f64::EPSILON);
        assert!((asked(&stretch, 300..400, Headroom::Ample) - 1.0).abs() < f64::EPSILON);
        assert!((stretch.most() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn one_caller_without_room_does_not_stretch_the_times_of_others() {
        let stretch = TtlStretch::default();
        asked(&stretch, 0..60, Headroom::Short);
        let other = stretch.factor(CallerId::Token([2; 16]), at(60), || Headroom::Ample);
        assert!((other - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn time_without_questions_does_not_count_as_time_without_room() {
        let stretch = TtlStretch::default();
        stretch.factor(WHO, at(0), || Headroom::Short);
        let later = stretch.factor(WHO, at(3_600), || Headroom::Short);
        assert!(later < 1.5, "{later}");
    }
}
