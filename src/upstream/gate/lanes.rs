use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::CredentialId;
use crate::source::{Headroom, RemainingBudget, Urgency};
use crate::upstream::settings::{Fraction, Rate, RateScope};

use super::adaptive_rate::AdaptiveRate;
use super::budget::{Budget, RequestClass};
use super::concurrency_limit::ConcurrencyLimit;
use super::connections::Connections;
use super::flow::{Flow, ShareGroup};
use super::promises::Promises;
use super::shares::Others;
use super::tried_keys::TriedKeys;
use super::troubles::Troubles;
use super::turns::{NotYet, Turns, WaiterId};

/// The most budgets; further credentials share one.
const MOST: usize = 1024;

/// The longest queue of one caller: eight pages for each of the default number of responses in progress.
const MOST_OF_CALLER: usize = 8192;

/// The longest queue of all unproven keys, half of which may be from one network.
const MOST_UNPROVEN: usize = 1024;

/// The longest `Retry-After`. The period of any limit is shorter, and a request that should wait longer has
/// more than a few hundred ahead of it.
const LONGEST_PROMISE: Duration = Duration::from_secs(120);

/// How long a response that may be stale waits for room. Room that comes later is useless to it.
const SOON: Duration = Duration::from_secs(2);

/// Whose requests share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    /// Those of all credentials, or of credentials without a budget of their own.
    Shared,
    /// One credential's.
    Credential(CredentialId),
}

/// One budget, its rate, and its queue.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) budget: Budget,
    pub(super) adaptive_rate: AdaptiveRate,
    pub(super) concurrency_limit: ConcurrencyLimit,
    pub(super) in_flight: usize,
    /// What slows down the requests of single agents.
    pub(super) troubles: Troubles,
    pub(super) turns: Turns,
    pub(super) tried_keys: TriedKeys,
    promises: Promises,
}

/// All budgets, and which of them have waiting requests.
#[derive(Debug)]
pub(super) struct Lanes {
    scope: RateScope,
    rate: Option<Rate>,
    reserve: Fraction,
    lanes: HashMap<LaneKey, Lane>,
    /// The lanes with waiting requests, the next one in front.
    pub(super) busy: VecDeque<LaneKey>,
}

impl Lane {
    fn new(rate: Option<Rate>, reserve: Fraction) -> Self {
        Self {
            budget: Budget::new(rate, reserve),
            adaptive_rate: AdaptiveRate::new(rate),
            concurrency_limit: ConcurrencyLimit::default(),
            in_flight: 0,
            troubles: Troubles::default(),
            turns: Turns::default(),
            tried_keys: TriedKeys::default(),
            promises: Promises::default(),
        }
    }

    /// Dequeues the request whose turn it is, if there is room for it; otherwise says when there may be.
    pub(super) fn next(&mut self, connections: &Connections, now: Instant) -> Result<WaiterId, NotYet> {
        if let Some(at) = self.adaptive_rate.next(0, now) {
            return Err(Some(at));
        }
        self.budget.expire(now);
        if let Some(at) = self.budget.spent_until() {
            return Err(Some(at));
        }
        let crowded = self.concurrency_limit.room(self.in_flight, now);
        let (waiting, others) = (self.turns.groups(), self.others_of_unproven());
        let (budget, troubles) = (&self.budget, &self.troubles);
        let room = |group, urgency, branch| {
            let others = if group == ShareGroup::Unproven { others } else { Others::Content };
            budget.room(RequestClass { urgency, group, branch }, others, 0, now).map_err(Some)
        };
        self.turns.next(
            |group, urgency| {
                // A refresh is a few pages that a caller waits for, so hanging requests do not hold it back.
                if urgency != Urgency::Refresh {
                    crowded.map_err(Some)?;
                }
                if connections.may(group, waiting) { Ok(()) } else { Err(None) }
            },
            |group, urgency, branch| {
                room(group, urgency, branch)?;
                if !connections.may_branch(group, branch) {
                    return Err(None);
                }
                troubles.may(group, branch, connections.held_by(group, branch), now).map_err(Some)
            },
            |group| budget.held_beyond_share(group),
        )
    }

    fn others_of_unproven(&self) -> Others {
        if self.turns.others_wait(ShareGroup::Unproven) { Others::Wait } else { Others::Content }
    }

    /// How much of the budget is left; none without a limit.
    pub(super) fn remaining(&mut self, now: Instant) -> Option<RemainingBudget> {
        let rate = self.budget.rate()?;
        let left = self.budget.left(now)?;
        Some(RemainingBudget { limit: rate.count.get(), period: rate.per, left })
    }

    /// Until when a caller's next request waits for the budget or for upstream's limit. The next request is a
    /// queued one, if there is any.
    pub(super) fn paused_until(&mut self, flow: &Flow, now: Instant) -> Option<Instant> {
        let urgency = if self.turns.has(flow.group) { Urgency::Cold } else { Urgency::Refresh };
        let at = self.likely_after(&Flow { urgency, ..*flow }, 1, now);
        (at > now).then_some(at)
    }

    /// Whether a few more requests of a caller will soon have room.
    ///
    /// They do while it holds less than its fair share: overuse by others stretches their own times to live.
    /// The pause after a single refusal is shorter, because a stray 429 does not mean that too much is due.
    pub(super) fn room(&mut self, group: ShareGroup, now: Instant) -> Headroom {
        let is_slow = self.adaptive_rate.next(0, now).is_some_and(|at| at > now + SOON);
        self.budget.expire(now);
        let is_spent = self.budget.is_nearly_spent(now) && self.budget.held_beyond_share(group).is_some();
        if is_slow || is_spent { Headroom::Short } else { Headroom::Ample }
    }

    /// Whether a request would have to wait for the budget if it were the next. False if only hanging
    /// requests of its agent or of all hold it back.
    pub(super) fn is_short_of_budget(&mut self, flow: &Flow, now: Instant) -> bool {
        let is_slowed = |limit: &ConcurrencyLimit| !limit.is_calm(now);
        let of_agent = self.troubles.of(flow.group, flow.branch);
        let is_left_hanging = is_slowed(&self.concurrency_limit)
            || of_agent.is_some_and(|trouble| is_slowed(&trouble.concurrency_limit));
        self.earliest(flow, now) > now && !(is_left_hanging && self.room(flow.group, now) == Headroom::Ample)
    }

    /// The earliest time at which a request could be sent if it were the next.
    pub(super) fn earliest(&mut self, flow: &Flow, now: Instant) -> Instant {
        let trouble = self.troubles.of(flow.group, flow.branch);
        let slowed = trouble.and_then(|trouble| trouble.adaptive_rate.next(0, now));
        self.after(flow, 0, now).max(slowed.unwrap_or(now))
    }

    /// When a request that returns later is likely to be sent, if all that are ahead of it are sent first.
    /// Remembers its place.
    pub(super) fn promise(&mut self, flow: &Flow, now: Instant) -> Instant {
        let more = self.promises.ahead(flow.group, flow.branch, now);
        let ahead = self.turns.ahead(flow.group, flow.urgency, more);
        let at = self.after(flow, ahead, now).max(self.earliest(flow, now)).min(now + LONGEST_PROMISE);
        self.promises.add(flow.group, flow.branch, at);
        at
    }

    /// When the last of `requests` requests of a caller is likely to be sent, whether they are queued already
    /// or not.
    pub(super) fn likely_after(&mut self, flow: &Flow, requests: usize, now: Instant) -> Instant {
        let more = requests.saturating_sub(self.turns.len_of(flow.group));
        self.after(flow, self.turns.ahead(flow.group, flow.urgency, more), now)
    }

    fn after(&mut self, flow: &Flow, ahead: usize, now: Instant) -> Instant {
        self.budget.expire(now);
        let others =
            if flow.group == ShareGroup::Unproven { self.others_of_unproven() } else { Others::Content };
        let kind = RequestClass { urgency: flow.urgency, group: flow.group, branch: flow.branch };
        let room = self.budget.room(kind, others, ahead, now).err();
        room.max(self.adaptive_rate.next(ahead, now)).unwrap_or(now)
    }

    /// Whether waiting is pointless for an agent's request: upstream pauses it, and has refused everything
    /// for longer than `patience`.
    pub(super) fn is_barren(&self, flow: &Flow, patience: Duration, now: Instant) -> bool {
        let of_agent = self.troubles.of(flow.group, flow.branch);
        self.adaptive_rate.is_barren(patience, now)
            || of_agent.is_some_and(|trouble| trouble.adaptive_rate.is_barren(patience, now))
    }

    /// Whether the queue is full for a further request.
    pub(super) fn is_full(&self, flow: &Flow) -> bool {
        let of_group = self.turns.len_of(flow.group);
        match flow.group {
            ShareGroup::Caller(_) => of_group >= MOST_OF_CALLER,
            ShareGroup::Unproven => {
                of_group >= MOST_UNPROVEN
                    || self.turns.len_of_branch(flow.group, flow.branch) >= MOST_UNPROVEN / 2
            }
        }
    }

    /// Whether an unproven key may use more than one request for its proof.
    pub(super) fn has_room_to_prove(&mut self, now: Instant) -> bool {
        self.budget.expire(now);
        !self.turns.has(ShareGroup::Unproven) && self.budget.has_room_to_prove()
    }
}

impl Lanes {
    pub(super) fn new(scope: RateScope, rate: Option<Rate>, reserve: Fraction) -> Self {
        Self { scope, rate, reserve, lanes: HashMap::new(), busy: VecDeque::new() }
    }

    /// The lane of a credential's requests, created if there is none.
    pub(super) fn key(&mut self, credential: CredentialId, now: Instant) -> LaneKey {
        let key = match self.scope {
            RateScope::Shared => LaneKey::Shared,
            RateScope::Credential => LaneKey::Credential(credential),
        };
        let key = if self.lanes.contains_key(&key) || self.has_space(now) { key } else { LaneKey::Shared };
        self.lanes.entry(key).or_insert_with(|| Lane::new(self.rate, self.reserve));
        key
    }

    /// Whether another lane may be created, possibly replacing lanes unused for a period.
    fn has_space(&mut self, now: Instant) -> bool {
        if self.lanes.len() >= MOST {
            self.lanes.retain(|_, lane| {
                let is_used = lane.turns.len() > 0 || lane.in_flight > 0;
                is_used || lane.adaptive_rate.paused_until(now).is_some() || !lane.budget.is_idle(now)
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

    use super::super::flow::Branch;
    use super::*;

    fn id(n: usize) -> CredentialId {
        CredentialId::new((n as u128).to_le_bytes())
    }

    #[test]
    fn a_long_pause_is_a_lack_of_room_and_a_stray_429_is_not() {
        let mut lane = Lane::new(None, Fraction::percent(0).unwrap());
        let now = Instant::now();
        lane.adaptive_rate.limited(now, now, None, 1.0);
        assert!(lane.adaptive_rate.paused_until(now).is_some());
        let group = ShareGroup::Unproven;
        assert_eq!(lane.room(group, now), Headroom::Ample);
        let later = now + Duration::from_millis(10);
        lane.adaptive_rate.limited(later, later, Some(Duration::from_secs(20)), 1.0);
        assert_eq!(lane.room(group, later), Headroom::Short);
        assert_eq!(lane.room(group, later + Duration::from_secs(19)), Headroom::Ample);
    }

    #[test]
    fn lanes_are_bounded_and_replaced_once_idle() {
        let rate = Rate { count: NonZeroU32::MIN, per: Duration::from_secs(1) };
        let mut lanes = Lanes::new(RateScope::Credential, Some(rate), Fraction::percent(0).unwrap());
        let now = Instant::now();
        for n in 0..MOST {
            let key = lanes.key(id(n), now);
            assert_eq!(key, LaneKey::Credential(id(n)));
            let branch = Branch::Peer(crate::domain::PeerGroup::Unknown);
            let kind = RequestClass { urgency: Urgency::Refresh, group: ShareGroup::Unproven, branch };
            lanes.get(key).unwrap().budget.take(kind, now);
        }
        assert_eq!(lanes.key(id(MOST), now), LaneKey::Shared);
        let later = now + Duration::from_secs(3);
        assert_eq!(lanes.key(id(MOST), later), LaneKey::Credential(id(MOST)));
        assert!(lanes.lanes.len() < 3);
    }
}
