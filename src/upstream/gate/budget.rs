use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::Urgency;
use crate::upstream::settings::{Fraction, Rate};

use super::flow::{Branch, ShareGroup};
use super::shares::{Holdings, Others, Shares};

/// Beyond the period, how long a place stays taken: two clocks that part by 100 ppm are 6 ms apart after a minute, and
/// a counter that cuts instants to milliseconds sees one more.
const SLACK: Duration = Duration::from_millis(10);

/// The longest that a request is taken to be on its way.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// Of the period, how much may be lost to not knowing when upstream saw a request.
const WAY_PART: u32 = 20;

/// Into how many parts a period is divided, in each of which renewals only bring the requests up to their even share.
const LULLS: u32 = 20;

/// How many requests upstream may see, as a ring of the places that were taken within the last period.
///
/// # Invariants
/// In any span of the period, upstream sees at most the rate's count; all of them at once if nobody asked before.
///
/// What counts is when upstream sees a request: somewhere between its sending and its answer. So a place counts from
/// the end of that, [`Self::answered`], and the next request that takes it is sent later. An answer that takes long
/// says little of the way there, which is therefore taken to last at most a second, and a twentieth of the period.
///
/// A token bucket would be simpler, and lets burst and refill through: up to twice the budget in one period.
#[derive(Debug)]
pub(super) struct Budget {
    rate: Option<Rate>,
    reserve: Fraction,
    taken: BTreeMap<BudgetSlot, RequestClass>,
    /// Of these, how many by others than refreshes.
    spare: usize,
    /// By whom they were taken.
    shares: Shares,
    next: u64,
}

/// A place in the ring: since when it counts, and a number that tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BudgetSlot(Instant, u64);

/// What decides how much of the budget a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestClass {
    /// See [`Urgency`].
    pub(super) urgency: Urgency,
    /// Whose share it uses.
    pub(super) group: ShareGroup,
    /// And which part of it.
    pub(super) branch: Branch,
}

impl Budget {
    pub(super) fn new(rate: Option<Rate>, reserve: Fraction) -> Self {
        Self { rate, reserve, taken: BTreeMap::new(), spare: 0, shares: Shares::default(), next: 0 }
    }

    /// The limit; none if there is none.
    pub(super) const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// When a request of this kind may go: now, or once enough places are free.
    ///
    /// `ahead` others are counted as having gone before. What is past must have been let go with [`Self::expire`].
    pub(super) fn room(
        &self,
        kind: RequestClass,
        others: Others,
        ahead: usize,
        now: Instant,
    ) -> Result<(), Instant> {
        let Some(rate) = self.rate else { return Ok(()) };
        let limit = count(rate);
        let bounds = self.shares.bounds(kind.group, kind.branch, others, limit);
        let outside_reserve = limit - self.reserve.of(limit).min(limit - 1);
        let most = match kind.urgency {
            Urgency::Refresh | Urgency::Cold => limit,
            // Most of it: what is not renewed in time is read before answering, all at once.
            Urgency::Renewal => (limit * 7).div_ceil(10),
        };
        let leaving = |most: usize| most.saturating_sub(bounds.leave).max(1);
        let mut at = self.free_at(self.taken.len() + ahead, leaving(most), |_| true);
        if kind.urgency != Urgency::Renewal {
            at = at.max(self.even_at(self.taken.len() + ahead, leaving(most), bounds.evenly, |_| true));
        }
        if kind.urgency == Urgency::Renewal {
            at = at.max(self.lull_at(rate, most, now));
        }
        if kind.urgency != Urgency::Refresh {
            let is_spare = |k: &RequestClass| k.urgency != Urgency::Refresh;
            let taken = self.spare + ahead;
            at = at.max(self.free_at(taken, leaving(outside_reserve), is_spare));
            at = at.max(self.even_at(taken, leaving(outside_reserve), bounds.evenly, is_spare));
        }
        // What others gave up is not left to them for long.
        if bounds.protected > 0
            && ahead == 0
            && let (Some(free), Some(forgotten)) = (at, self.shares.next_forgotten(rate.per))
        {
            at = Some(free.min(forgotten));
        }
        if bounds.most_of_group < limit {
            let held = self.shares.held(kind.group);
            at = at.max(self.free_at(held + ahead, bounds.most_of_group, |k| k.group == kind.group));
        }
        at.filter(|at| *at > now).map_or(Ok(()), Err)
    }

    /// When few enough places were taken of late for a renewal to fill a lull; none if that is now.
    ///
    /// Renewals that took all that a burst left at once would make the next burst of it, a period later, and so for ever.
    fn lull_at(&self, rate: Rate, most: usize, now: Instant) -> Option<Instant> {
        let (length, most) = (rate.per / LULLS, (most / LULLS as usize).max(1));
        let mut lately = self.taken.keys().rev().take_while(|place| place.0 + length > now);
        lately.nth(most - 1).map(|place| place.0 + length)
    }

    /// When fewer than `most` of the places that `counts` will be taken; none if that is so now.
    fn free_at(&self, taken: usize, most: usize, counts: impl Fn(&RequestClass) -> bool) -> Option<Instant> {
        let rate = self.rate?;
        let surplus = (taken + 1).checked_sub(most).filter(|s| *s > 0)?;
        let mut counted = self.taken.iter().filter(|(_, kind)| counts(kind)).map(|(place, _)| place.0);
        let free = |at: Instant| at + rate.per + SLACK;
        if let Some(at) = counted.clone().nth(surplus - 1) {
            return Some(free(at));
        }
        // Those ahead have no places yet, but will: `most` of them in each further period.
        let periods = (surplus - counted.clone().count()).div_ceil(most.max(1));
        let last = counted.next_back()?;
        Some(free(last + rate.per.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX).min(1000))))
    }

    /// When one of `most` places that `counts` may be taken if the last ones are spent evenly, so many in a period; none
    /// if nothing is taken.
    ///
    /// A newcomer for each of them must find one whenever it comes. So at each instant at which a place will be free, as
    /// many have to be left as may have come until then.
    fn even_at(
        &self,
        taken: usize,
        most: usize,
        evenly: usize,
        counts: impl Fn(&RequestClass) -> bool,
    ) -> Option<Instant> {
        let (rate, parts) = (self.rate?, u32::try_from(evenly).ok().filter(|parts| *parts > 0)?);
        let step = rate.per / parts;
        let first = (taken + 1).saturating_sub(most);
        let counted = self.taken.iter().filter(|(_, kind)| counts(kind)).map(|(place, _)| place.0);
        let left = (most + first).saturating_sub(taken + 1);
        let due = |(at, more): (Instant, u32)| {
            let left = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(more).min(parts + 1);
            (at + rate.per).checked_sub(step * left)
        };
        counted.skip(first).zip(0..=parts).filter_map(due).max()
    }

    /// Takes a place for a request that goes now.
    pub(super) fn take(&mut self, kind: RequestClass, now: Instant) -> Option<BudgetSlot> {
        let rate = self.rate?;
        let place = BudgetSlot(now + LONGEST_WAY.min(rate.per / WAY_PART), self.next);
        self.next += 1;
        self.insert(place, kind);
        self.shares.took(kind.group, kind.branch);
        Some(place)
    }

    /// The request in this place goes only now.
    pub(super) fn sent(&mut self, place: BudgetSlot, now: Instant) -> BudgetSlot {
        let Some(rate) = self.rate else { return place };
        self.moved(place, now + LONGEST_WAY.min(rate.per / WAY_PART))
    }

    /// The request in this place has been answered, so upstream saw it no later than now.
    pub(super) fn answered(&mut self, place: BudgetSlot, now: Instant) -> BudgetSlot {
        self.moved(place, place.0.min(now))
    }

    /// The request in this place turned out to be another group's.
    pub(super) fn reassign(&mut self, place: BudgetSlot, group: ShareGroup, branch: Branch) {
        let Some(kind) = self.taken.get_mut(&place) else { return };
        self.shares.took(group, branch);
        self.shares.gave_back(kind.group, kind.branch);
        (kind.group, kind.branch) = (group, branch);
    }

    /// The request in this place never went.
    pub(super) fn give_back(&mut self, place: BudgetSlot) {
        if let Some(kind) = self.remove(place) {
            self.shares.gave_back(kind.group, kind.branch);
        }
    }

    fn moved(&mut self, place: BudgetSlot, at: Instant) -> BudgetSlot {
        let moved = BudgetSlot(at, place.1);
        if let Some(kind) = self.remove(place) {
            self.insert(moved, kind);
        }
        moved
    }

    fn insert(&mut self, place: BudgetSlot, kind: RequestClass) {
        self.spare += usize::from(kind.urgency != Urgency::Refresh);
        self.taken.insert(place, kind);
    }

    fn remove(&mut self, place: BudgetSlot) -> Option<RequestClass> {
        let kind = self.taken.remove(&place)?;
        self.spare -= usize::from(kind.urgency != Urgency::Refresh);
        Some(kind)
    }

    /// Lets go of what is past.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        while let Some((place, _)) = self.taken.first_key_value() {
            let (place, free) = (*place, place.0 + rate.per + SLACK);
            if free > now {
                break;
            }
            if let Some(kind) = self.remove(place) {
                self.shares.expired(kind.group, kind.branch, free);
            }
        }
        self.shares.forget(rate.per, now);
    }

    /// When the next place is free, if none is now.
    pub(super) fn spent_until(&self) -> Option<Instant> {
        let rate = self.rate?;
        self.free_at(self.taken.len(), count(rate), |_| true)
    }

    /// Whether unproven keys hold no more than half of what is always theirs.
    pub(super) fn has_room_to_prove(&self) -> bool {
        self.rate.is_none_or(|rate| self.shares.held(ShareGroup::Unproven) * 20 < count(rate))
    }

    /// Who holds how much of it, without names.
    pub(super) fn holdings(&self) -> Holdings {
        self.shares.holdings()
    }

    /// Whether a group holds its fair share of the budget, or more.
    pub(super) fn has_share(&self, group: ShareGroup) -> bool {
        self.rate.is_some_and(|rate| self.shares.has_share(group, count(rate)))
    }

    /// How many places a group holds, if that is its fair share or more.
    pub(super) fn held_beyond_share(&self, group: ShareGroup) -> Option<usize> {
        self.shares.held_beyond_share(group, count(self.rate?))
    }

    /// Whether no request of the last period counts any more.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.taken.is_empty()
    }

    /// Whether less than a tenth is left: what is due has then come close to what may be asked.
    pub(super) fn is_nearly_spent(&mut self, now: Instant) -> bool {
        let (left, limit) = (self.left(now), self.rate.map(count));
        left.zip(limit).is_some_and(|(left, limit)| left * 10 < limit)
    }

    /// How many requests may go at once; none without a limit.
    pub(super) fn left(&mut self, now: Instant) -> Option<usize> {
        self.expire(now);
        Some(count(self.rate?).saturating_sub(self.taken.len()))
    }
}

fn count(rate: Rate) -> usize {
    usize::try_from(rate.count.get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
