use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::CredentialId;
use crate::source::{Room, Urgency};
use crate::upstream::settings::{Rate, RateScope, Share};

use super::budget::{Budget, Kind, Standing};
use super::crowd::Crowd;
use super::pace::Pace;
use super::turns::{KINDS, Turns, WaiterId};

/// The most budgets that are kept; credentials beyond share one.
const MOST: usize = 1024;

/// How long an answer that may be stale waits for room: what comes later is no room for it.
const SOON: Duration = Duration::from_secs(2);

/// Whose requests count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    /// Everybody's, or of those for whom no budget of their own is left.
    Shared,
    /// Those of one credential.
    Credential(CredentialId),
}

/// One budget, how fast it is used, and who waits for it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) budget: Budget,
    pub(super) pace: Pace,
    pub(super) crowd: Crowd,
    pub(super) turns: Turns,
}

/// All budgets, and which of them are waited for.
#[derive(Debug)]
pub(super) struct Lanes {
    scope: RateScope,
    rate: Option<Rate>,
    reserve: Share,
    lanes: HashMap<LaneKey, Lane>,
    /// Those with somebody waiting, the one whose turn is next in front.
    pub(super) busy: VecDeque<LaneKey>,
}

impl Lane {
    fn new(rate: Option<Rate>, reserve: Share) -> Self {
        Self {
            budget: Budget::new(rate, reserve),
            pace: Pace::new(rate),
            crowd: Crowd::default(),
            turns: Turns::default(),
        }
    }

    /// Whose turn it is, if there is room for them; else when there may be.
    ///
    /// Unproven keys are passed over where their part of the connections is taken. None: only a request that ends
    /// makes room.
    pub(super) fn next(
        &mut self,
        unproven: UnprovenRoom,
        now: Instant,
    ) -> Result<(WaiterId, Kind), Option<Instant>> {
        if let Some(at) = self.pace.next(0, now) {
            return Err(Some(at));
        }
        let crowded = self.crowd.room(now).err();
        let mut next: Option<Instant> = None;
        for kind in KINDS {
            // A refresh is a few pages that somebody waits for: those that hang are not in its way.
            if let Some(until) = crowded.filter(|_| kind.urgency != Urgency::Refresh) {
                if self.turns.has(kind) {
                    next = Some(next.map_or(until, |n| n.min(until)));
                }
                continue;
            }
            let passed_over = kind.standing == Standing::Unproven && unproven == UnprovenRoom::Taken;
            if passed_over || !self.turns.has(kind) {
                continue;
            }
            match self.budget.room(kind, 0, now) {
                Ok(()) => return self.turns.pop(kind).map(|w| (w, kind)).ok_or(None),
                Err(at) => next = Some(next.map_or(at, |n| n.min(at))),
            }
        }
        Err(next)
    }

    /// Whether there is room for a few more requests soon.
    ///
    /// The pause after a single refusal is shorter: a stray 429 does not say that what is due is too much.
    pub(super) fn room(&mut self, now: Instant) -> Room {
        let refreshes = self.turns.up_to(KINDS[1]);
        let is_slow = self.pace.next(refreshes, now).is_some_and(|at| at > now + SOON);
        if is_slow || self.budget.is_nearly_spent(now) { Room::Short } else { Room::Ample }
    }

    /// When a request of this kind could go at the earliest, were it the next.
    pub(super) fn earliest(&mut self, kind: Kind, now: Instant) -> Instant {
        self.after(kind, 0, now)
    }

    /// When one in line is likely to go, if all others go before.
    pub(super) fn likely(&mut self, kind: Kind, now: Instant) -> Instant {
        let ahead = self.turns.up_to(kind).saturating_sub(1);
        self.after(kind, ahead, now)
    }

    /// When the last of so many is likely to go, whether they are in line already or not.
    pub(super) fn likely_after(&mut self, kind: Kind, requests: usize, now: Instant) -> Instant {
        self.after(kind, self.turns.up_to(kind).max(requests).saturating_sub(1), now)
    }

    fn after(&mut self, kind: Kind, ahead: usize, now: Instant) -> Instant {
        let room = self.budget.room(kind, ahead, now).err();
        room.max(self.pace.next(ahead, now)).unwrap_or(now)
    }
}

/// Whether requests with unproven keys may have another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnprovenRoom {
    /// They may.
    Left,
    /// Their part is taken.
    Taken,
}

impl Lanes {
    pub(super) fn new(scope: RateScope, rate: Option<Rate>, reserve: Share) -> Self {
        Self { scope, rate, reserve, lanes: HashMap::new(), busy: VecDeque::new() }
    }

    /// The lane that a credential's requests go through, made if there is none.
    pub(super) fn key(&mut self, credential: CredentialId, now: Instant) -> LaneKey {
        let key = match self.scope {
            RateScope::Shared => LaneKey::Shared,
            RateScope::Credential => LaneKey::Credential(credential),
        };
        let key = if self.lanes.contains_key(&key) || self.has_space(now) { key } else { LaneKey::Shared };
        self.lanes.entry(key).or_insert_with(|| Lane::new(self.rate, self.reserve));
        key
    }

    /// Whether another lane may be made, if need be in place of those that nobody used within a period.
    fn has_space(&mut self, now: Instant) -> bool {
        if self.lanes.len() >= MOST {
            self.lanes.retain(|_, lane| {
                let is_used = lane.turns.len() > 0 || lane.crowd.in_flight() > 0;
                is_used || lane.pace.paused_until(now).is_some() || !lane.budget.is_idle(now)
            });
        }
        self.lanes.len() < MOST
    }

    pub(super) fn get(&mut self, key: LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(&key)
    }

    /// Every lane.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn id(n: usize) -> CredentialId {
        CredentialId::new((n as u128).to_le_bytes())
    }

    #[test]
    fn a_stray_429_is_no_lack_of_room_and_a_long_pause_is() {
        let mut lane = Lane::new(None, Share::percent(0).unwrap());
        let now = Instant::now();
        lane.pace.limited(now, now, None, 1.0);
        assert!(lane.pace.paused_until(now).is_some());
        assert_eq!(lane.room(now), Room::Ample);
        let later = now + Duration::from_millis(10);
        lane.pace.limited(later, later, Some(Duration::from_secs(20)), 1.0);
        assert_eq!(lane.room(later), Room::Short);
        assert_eq!(lane.room(later + Duration::from_secs(19)), Room::Ample);
    }

    #[test]
    fn lanes_are_bounded_and_make_way_once_idle() {
        let rate = Rate { count: NonZeroU32::MIN, per: Duration::from_secs(1) };
        let mut lanes = Lanes::new(RateScope::Credential, Some(rate), Share::percent(0).unwrap());
        let now = Instant::now();
        for n in 0..MOST {
            let key = lanes.key(id(n), now);
            assert_eq!(key, LaneKey::Credential(id(n)));
            lanes.get(key).unwrap().budget.take(KINDS[0], now);
        }
        assert_eq!(lanes.key(id(MOST), now), LaneKey::Shared);
        let later = now + Duration::from_secs(3);
        assert_eq!(lanes.key(id(MOST), later), LaneKey::Credential(id(MOST)));
        assert!(lanes.lanes.len() < 3);
    }
}
