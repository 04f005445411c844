use std::collections::{HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use super::flow::{Branch, ShareGroup};
use crate::telemetry::BudgetHoldings;

/// The part of the budget that heavy users leave for callers who come later, as a divisor: a new caller's
/// first pages are sent at once, although one caller alone may use all the rest.
const NEWCOMERS: usize = 25;

/// A multiple of that part, which heavy users spend evenly until more slots are free. A burst that takes all
/// but [`NEWCOMERS`] leaves so little for a whole period that the second newcomer would wait for its end.
/// With a larger multiple, a lone caller would wait longer for its last pages, and two callers that want
/// everything would get uneven parts of the minute in which the second one comes.
const EVENLY: usize = 2;

/// The part of the budget that unproven keys may always use, as a divisor.
const UNPROVEN: usize = 10;

/// The most that they may use while no other caller wants it, as a divisor.
const UNPROVEN_AT_MOST: usize = 2;

/// What they leave for others beyond their own part, as a divisor.
const UNPROVEN_LEAVE: usize = 4;

/// The part of a period for which a caller's slot is reserved for it after becoming free, as a divisor. A
/// caller with steady requests reuses it within that time; otherwise, a caller that always waits would be
/// faster.
const GRACE: u32 = 4;

/// How much of the budget each caller holds, and how much of it a request must leave for others.
///
/// In a sliding window, slots that one caller takes at once are gone for a whole period, so turns alone can't
/// give another caller its share. A caller that holds less than its fair share (an even part with one more
/// caller than there are) may therefore take any free slot. One that holds more leaves [`NEWCOMERS`], and the
/// slots that others gave up a moment ago, up to their fair share, and spends a part of the rest evenly (see
/// [`EVENLY`]). Older use does not count, neither as credit nor as debt.
#[derive(Debug, Default)]
pub(super) struct Shares {
    held: HashMap<ShareGroup, HeldShare>,
    /// Slots of unproven keys, by network.
    peers: HashMap<Branch, usize>,
    /// Slots that became free a moment ago, oldest first.
    given_up: VecDeque<(Instant, ShareGroup)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct HeldShare {
    slots: usize,
    given_up: usize,
}

/// Whether other callers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Some wait.
    Wait,
    /// None waits.
    Content,
}

/// What a request must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Slots of the whole budget that must stay free.
    pub(super) leave: usize,
    /// How many of these others gave up a moment ago: they are available once that is forgotten.
    pub(super) protected: usize,
    /// The number of slots beyond these that are spent evenly over a period.
    pub(super) evenly: usize,
    /// The most slots of its group.
    pub(super) most_of_group: usize,
}

impl Shares {
    /// Records that a slot was taken.
    pub(super) fn took(&mut self, group: ShareGroup, branch: Branch) {
        self.held.entry(group).or_default().slots += 1;
        if group == ShareGroup::Unproven {
            *self.peers.entry(branch).or_default() += 1;
        }
    }

    /// Records that a slot was returned unused.
    pub(super) fn gave_back(&mut self, group: ShareGroup, branch: Branch) {
        if let Some(held) = self.held.get_mut(&group) {
            held.slots = held.slots.saturating_sub(1);
            if held.slots + held.given_up == 0 {
                self.held.remove(&group);
            }
        }
        if group == ShareGroup::Unproven
            && let Some(slots) = self.peers.get_mut(&branch)
        {
            *slots -= 1;
            if *slots == 0 {
                self.peers.remove(&branch);
            }
        }
    }

    /// Records that a slot became free after its period.
    pub(super) fn expired(&mut self, group: ShareGroup, branch: Branch, at: Instant) {
        self.held.entry(group).or_default().given_up += 1;
        self.given_up.push_back((at, group));
        self.gave_back(group, branch);
    }

    /// Forgets slots that became free longer ago than a part of the period.
    pub(super) fn forget(&mut self, period: Duration, now: Instant) {
        while let Some((at, group)) = self.given_up.front().copied()
            && at + period / GRACE <= now
        {
            self.given_up.pop_front();
            if let Some(held) = self.held.get_mut(&group) {
                held.given_up = held.given_up.saturating_sub(1);
                if held.slots + held.given_up == 0 {
                    self.held.remove(&group);
                }
            }
        }
    }

    /// When the next slot is forgotten.
    pub(super) fn next_forgotten(&self, period: Duration) -> Option<Instant> {
        self.given_up.front().map(|(at, _)| *at + period / GRACE)
    }

    /// The number of slots that a group holds.
    pub(super) fn held(&self, group: ShareGroup) -> usize {
        self.held.get(&group).map_or(0, |held| held.slots)
    }

    /// The number of slots that a group holds, if that is at least its fair share.
    pub(super) fn held_beyond_share(&self, group: ShareGroup, limit: usize) -> Option<usize> {
        Some(self.held(group)).filter(|held| *held >= self.fair(group, limit))
    }

    /// How much is held, without naming callers.
    pub(super) fn holdings(&self) -> BudgetHoldings {
        let unproven = self.held(ShareGroup::Unproven);
        let callers = self.held.iter().filter(|(group, _)| **group != ShareGroup::Unproven);
        let (largest, sum) =
            callers.fold((0, 0), |(largest, sum), (_, held)| (held.slots.max(largest), sum + held.slots));
        BudgetHoldings { largest, others: sum - largest, unproven }
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
                // Not both: what others gave up is left for them, and the quarter is, too.
                let protected = self.protected(group, limit);
                let of_others = limit / NEWCOMERS + protected;
                let leave = if held < own { 0 } else { of_others.max(limit / UNPROVEN_LEAVE) };
                // One network may use most of what they have together; the rest is for the next one.
                let of_peer = self.peers.get(&branch).copied().unwrap_or(0);
                let left_to_peers = if of_peer * 2 >= most { most / UNPROVEN } else { 0 };
                let most_of_group = most - left_to_peers;
                Bounds { leave: leave.min(limit - 1), protected, evenly: 0, most_of_group }
            }
        }
    }

    /// The slots that others gave up a moment ago, up to their fair share.
    fn protected(&self, group: ShareGroup, limit: usize) -> usize {
        let fair = self.fair(group, limit);
        let others = self.held.iter().filter(|(other, _)| **other != group);
        others.map(|(_, held)| held.given_up.min(fair.saturating_sub(held.slots))).sum()
    }
}
