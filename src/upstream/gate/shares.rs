use std::collections::{HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use super::flow::{Branch, ShareGroup};

/// Of the budget, the part that those who used much of it leave for callers who come later, as a divisor: a new
/// caller's first pages go at once, although one caller alone may have all the rest.
const NEWCOMERS: usize = 25;

/// How many times as much of the budget those who used much of it spend evenly until more places are free. A burst that
/// takes all but [`NEWCOMERS`] leaves so little for a whole period that the second newcomer would wait for its end. Were
/// it more, a lone caller would wait longer for its last pages, and two that want everything would get uneven parts of
/// the minute in which the second one comes.
const EVENLY: usize = 2;

/// The part of the budget that unproven keys may always use, as a divisor.
const UNPROVEN: usize = 10;

/// The part that they may use at most, while nobody else wants it.
const UNPROVEN_AT_MOST: usize = 2;

/// What they leave for others beyond their own part.
const UNPROVEN_LEAVE: usize = 4;

/// For which part of a period a caller's place stays its own after it is free again, as a divisor. A caller that asks
/// steadily takes it up within that time; without it, one that always waits would be there first.
const GRACE: u32 = 4;

/// How much of the budget each caller holds, and how much of it a request must leave to others.
///
/// In a sliding window the places that one caller takes at once are gone for a whole period. Turns alone can't give
/// another caller its share then. So a caller that holds less than its fair share, which is an even part with one more caller
/// than there are, may take any place that is free. One that holds more leaves [`NEWCOMERS`], and the places that others
/// gave up a moment ago, up to their fair share, and spends a part of the rest evenly (see [`EVENLY`]). Nothing older counts: neither
/// credit nor debt.
#[derive(Debug, Default)]
pub(super) struct Shares {
    held: HashMap<ShareGroup, HeldShare>,
    /// Places of unproven keys, by network.
    peers: HashMap<Branch, usize>,
    /// Places that became free a moment ago, oldest first.
    given_up: VecDeque<(Instant, ShareGroup)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct HeldShare {
    places: usize,
    given_up: usize,
}

/// How many requests of the last period are whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Those of the caller with the most.
    pub largest: usize,
    /// Those of all other callers.
    pub others: usize,
    /// Those of keys that upstream had not accepted.
    pub unproven: usize,
}

/// Whether somebody else waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Somebody does.
    Wait,
    /// Nobody does.
    Content,
}

/// What a request must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Places of the whole budget that must stay free.
    pub(super) leave: usize,
    /// How many of these others gave up a moment ago: it has them as soon as that is forgotten.
    pub(super) protected: usize,
    /// How many places beyond these are spent evenly over a period.
    pub(super) evenly: usize,
    /// The most places of its group.
    pub(super) most_of_group: usize,
}

impl Shares {
    /// A place was taken.
    pub(super) fn took(&mut self, group: ShareGroup, branch: Branch) {
        self.held.entry(group).or_default().places += 1;
        if group == ShareGroup::Unproven {
            *self.peers.entry(branch).or_default() += 1;
        }
    }

    /// A place was given back unused.
    pub(super) fn gave_back(&mut self, group: ShareGroup, branch: Branch) {
        if let Some(held) = self.held.get_mut(&group) {
            held.places = held.places.saturating_sub(1);
            if held.places + held.given_up == 0 {
                self.held.remove(&group);
            }
        }
        if group == ShareGroup::Unproven
            && let Some(places) = self.peers.get_mut(&branch)
        {
            *places -= 1;
            if *places == 0 {
                self.peers.remove(&branch);
            }
        }
    }

    /// A place became free again after its period.
    pub(super) fn expired(&mut self, group: ShareGroup, branch: Branch, at: Instant) {
        self.held.entry(group).or_default().given_up += 1;
        self.given_up.push_back((at, group));
        self.gave_back(group, branch);
    }

    /// Forgets what became free longer ago than a part of the period.
    pub(super) fn forget(&mut self, period: Duration, now: Instant) {
        while let Some((at, group)) = self.given_up.front().copied()
            && at + period / GRACE <= now
        {
            self.given_up.pop_front();
            if let Some(held) = self.held.get_mut(&group) {
                held.given_up = held.given_up.saturating_sub(1);
                if held.places + held.given_up == 0 {
                    self.held.remove(&group);
                }
            }
        }
    }

    /// When something will next be forgotten.
    pub(super) fn next_forgotten(&self, period: Duration) -> Option<Instant> {
        self.given_up.front().map(|(at, _)| *at + period / GRACE)
    }

    /// How many places a group holds.
    pub(super) fn held(&self, group: ShareGroup) -> usize {
        self.held.get(&group).map_or(0, |held| held.places)
    }

    /// Whether a group holds its fair share, or more.
    pub(super) fn has_share(&self, group: ShareGroup, limit: usize) -> bool {
        self.held(group) >= self.fair(group, limit)
    }

    /// How many places a group holds, if that is its fair share or more.
    pub(super) fn held_beyond_share(&self, group: ShareGroup, limit: usize) -> Option<usize> {
        self.has_share(group, limit).then(|| self.held(group))
    }

    /// Who holds how much, without names.
    pub(super) fn holdings(&self) -> Holdings {
        let unproven = self.held(ShareGroup::Unproven);
        let callers = self.held.iter().filter(|(group, _)| **group != ShareGroup::Unproven);
        let (largest, sum) =
            callers.fold((0, 0), |(largest, sum), (_, held)| (held.places.max(largest), sum + held.places));
        Holdings { largest, others: sum - largest, unproven }
    }

    fn fair(&self, group: ShareGroup, limit: usize) -> usize {
        let callers = self.held.len() + usize::from(!self.held.contains_key(&group));
        (limit / (callers + 1)).max(1)
    }

    /// What a request of a group must leave.
    pub(super) fn bounds(&self, group: ShareGroup, branch: Branch, others: Others, limit: usize) -> Bounds {
        let held = self.held(group);
        match group {
            ShareGroup::Caller(_) if held < self.fair(group, limit) => {
                Bounds { leave: 0, protected: 0, evenly: 0, most_of_group: limit }
            }
            ShareGroup::Caller(_) => {
                let protected = self.protected(group, limit);
                let leave = limit / NEWCOMERS + protected;
                Bounds {
                    leave: leave.min(limit - 1),
                    protected,
                    evenly: limit / NEWCOMERS * EVENLY,
                    most_of_group: limit,
                }
            }
            ShareGroup::Unproven => {
                let own = (limit / UNPROVEN).max(1);
                let most = if others == Others::Wait { own } else { (limit / UNPROVEN_AT_MOST).max(own) };
                // Not both: what others gave up is left for them, and so is the quarter.
                let protected = self.protected(group, limit);
                let of_others = limit / NEWCOMERS + protected;
                let leave = if held < own { 0 } else { of_others.max(limit / UNPROVEN_LEAVE) };
                // Most of what they have together may be one network's; the rest is for the next one.
                let of_peer = self.peers.get(&branch).copied().unwrap_or(0);
                let left_to_peers = if of_peer * 2 >= most { most / UNPROVEN } else { 0 };
                let most_of_group = most - left_to_peers;
                Bounds { leave: leave.min(limit - 1), protected, evenly: 0, most_of_group }
            }
        }
    }

    /// The places that others gave up a moment ago, as far as these are below their fair share.
    fn protected(&self, group: ShareGroup, limit: usize) -> usize {
        let fair = self.fair(group, limit);
        let others = self.held.iter().filter(|(other, _)| **other != group);
        others.map(|(_, held)| held.given_up.min(fair.saturating_sub(held.places))).sum()
    }
}
