use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::Urgency;
use crate::upstream::settings::{Fraction, Rate};

use super::flow::{Branch, ShareGroup};
use super::shares::{Others, Shares};
use crate::telemetry::BudgetHoldings;

/// How long a slot stays taken beyond the period: two clocks that drift apart by 100 ppm differ by 6 ms after
/// a minute, and a counter that truncates instants to milliseconds adds one more.
const SLACK: Duration = Duration::from_millis(10);

/// The longest time that a request is assumed to travel.
const LONGEST_WAY: Duration = Duration::from_secs(1);

/// The part of the period that may be lost because it is unknown when upstream saw a request, as a divisor.
const WAY_PART: u32 = 20;

/// The number of parts of a period. In each part, renewals use only what other requests leave of its even
/// share.
const LULLS: u32 = 20;

/// How many requests upstream may see, as a ring of the slots that were taken within the last period.
///
/// # Invariants
/// In any span of the period, upstream sees at most the rate's count; all of them at once if no request
/// preceded them.
///
/// What counts is when upstream sees a request, which is between its sending and its response. So a slot
/// counts from the end of that time, [`Self::answered`], and the next request that takes it is sent later. A
/// late response says little about how long the request traveled, which is therefore assumed to be at most a
/// second, and a twentieth of the period.
///
/// A token bucket would be simpler, but allows a burst and its refill: up to twice the budget in one period.
#[derive(Debug)]
pub(super) struct Budget {
    configured: Option<Rate>,
    /// The rate in force, which [`Self::limit_to`] may have lowered.
    rate: Option<Rate>,
    reserve: Fraction,
    /// The requests of other processes, earlier or concurrent, have no class: they count, but belong to no
    /// share.
    taken: BTreeMap<BudgetSlot, Option<RequestClass>>,
    /// The number of slots that were not taken by refreshes.
    spare: usize,
    /// The holders of the slots.
    shares: Shares,
    next: u64,
}

/// A slot in the ring: since when it counts, and a number that distinguishes it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BudgetSlot(Instant, u64);

/// What decides how much of the budget a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestClass {
    /// See [`Urgency`].
    pub(super) urgency: Urgency,
    /// The caller whose share it uses.
    pub(super) group: ShareGroup,
    /// The part of that share.
    pub(super) branch: Branch,
}

impl Budget {
    pub(super) fn new(rate: Option<Rate>, reserve: Fraction) -> Self {
        let (taken, shares) = (BTreeMap::new(), Shares::default());
        Self { configured: rate, rate, reserve, taken, spare: 0, shares, next: 0 }
    }

    /// The limit; `None` if there is none.
    pub(super) const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Lowers the number of requests in a period, or raises it again, at most to the configured one.
    pub(super) fn limit_to(&mut self, most: u32) {
        let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        self.rate = self.configured.map(|rate| Rate { count: rate.count.min(most), ..rate });
    }

    /// When a request of this class may be sent: now, or once enough slots are free.
    ///
    /// `ahead` other requests count as sent before it. [`Self::expire`] must have dropped expired slots.
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
            // Most of it, because data that is not renewed in time is read before the response, all at once.
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
            let is_spare = |k: Option<&RequestClass>| k.is_some_and(|k| k.urgency != Urgency::Refresh);
            let taken = self.spare + ahead;
            at = at.max(self.free_at(taken, leaving(outside_reserve), is_spare));
            at = at.max(self.even_at(taken, leaving(outside_reserve), bounds.evenly, is_spare));
        }
        // Slots that others gave up are not reserved for them for long.
        if bounds.protected > 0
            && ahead == 0
            && let (Some(free), Some(forgotten)) = (at, self.shares.next_forgotten(rate.per))
        {
            at = Some(free.min(forgotten));
        }
        if bounds.most_of_group < limit {
            let held = self.shares.held(kind.group);
            at =
                at.max(self.free_at(held + ahead, bounds.most_of_group, |k| {
                    k.is_some_and(|k| k.group == kind.group)
                }));
        }
        at.filter(|at| *at > now).map_or(Ok(()), Err)
    }

    /// When so few slots were taken recently that a renewal fills a lull; `None` if that is now.
    ///
    /// Renewals that took everything that a burst left at once would form the next burst a period later, and
    /// so on forever.
    fn lull_at(&self, rate: Rate, most: usize, now: Instant) -> Option<Instant> {
        let (length, most) = (rate.per / LULLS, (most / LULLS as usize).max(1));
        let mut lately = self.taken.keys().rev().take_while(|slot| slot.0 + length > now);
        lately.nth(most - 1).map(|slot| slot.0 + length)
    }

    /// When fewer than `most` of the slots that `counts` are taken; `None` if that is so now.
    fn free_at(
        &self,
        taken: usize,
        most: usize,
        counts: impl Fn(Option<&RequestClass>) -> bool,
    ) -> Option<Instant> {
        let rate = self.rate?;
        let surplus = (taken + 1).checked_sub(most).filter(|s| *s > 0)?;
        let counts = |kind: &Option<RequestClass>| counts(kind.as_ref());
        let mut counted = self.taken.iter().filter(|(_, kind)| counts(kind)).map(|(slot, _)| slot.0);
        let free = |at: Instant| at + rate.per + SLACK;
        if let Some(at) = counted.clone().nth(surplus - 1) {
            return Some(free(at));
        }
        // The requests ahead have no slots yet, but will: `most` of them in each further period.
        let periods = (surplus - counted.clone().count()).div_ceil(most.max(1));
        let last = counted.next_back()?;
        Some(free(last + rate.per.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX).min(1000))))
    }

    /// When one of `most` slots that `counts` may be taken if the last ones are spent evenly, this many per
    /// period; `None` if nothing is taken.
    ///
    /// A newcomer must find a slot for each of them whenever it comes. So at each instant at which a slot
    /// becomes free, as many must be left as may have come until then.
    fn even_at(
        &self,
        taken: usize,
        most: usize,
        evenly: usize,
        counts: impl Fn(Option<&RequestClass>) -> bool,
    ) -> Option<Instant> {
        let (rate, parts) = (self.rate?, u32::try_from(evenly).ok().filter(|parts| *parts > 0)?);
        let step = rate.per / parts;
        let first = (taken + 1).saturating_sub(most);
        let counts = |kind: &Option<RequestClass>| counts(kind.as_ref());
        let counted = self.taken.iter().filter(|(_, kind)| counts(kind)).map(|(slot, _)| slot.0);
        let left = (most + first).saturating_sub(taken + 1);
        let due = |(at, more): (Instant, u32)| {
            let left = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(more).min(parts + 1);
            (at + rate.per).checked_sub(step * left)
        };
        counted.skip(first).zip(0..=parts).filter_map(due).max()
    }

    /// Takes a slot for a request that is sent now.
    pub(super) fn take(&mut self, kind: RequestClass, now: Instant) -> Option<BudgetSlot> {
        let rate = self.rate?;
        let slot = self.slot(rate, now);
        self.insert(slot, Some(kind));
        self.shares.took(kind.group, kind.branch);
        Some(slot)
    }

    /// Counts a request that another process sent with the same budget.
    pub(super) fn remember(&mut self, sent: Instant) {
        let Some(rate) = self.rate else { return };
        let slot = self.slot(rate, sent);
        self.insert(slot, None);
    }

    fn slot(&mut self, rate: Rate, sent: Instant) -> BudgetSlot {
        self.next += 1;
        BudgetSlot(sent + longest_way(rate), self.next)
    }

    /// Records that the request in this slot is sent only now.
    pub(super) fn sent(&mut self, slot: BudgetSlot, now: Instant) -> BudgetSlot {
        let Some(rate) = self.rate else { return slot };
        self.moved(slot, now + longest_way(rate))
    }

    /// Records that the request in this slot was answered, so upstream saw it by now.
    pub(super) fn answered(&mut self, slot: BudgetSlot, now: Instant) -> BudgetSlot {
        self.moved(slot, slot.0.min(now))
    }

    /// Records that the request in this slot belongs to another group.
    pub(super) fn reassign(&mut self, slot: BudgetSlot, group: ShareGroup, branch: Branch) {
        let Some(Some(kind)) = self.taken.get_mut(&slot) else { return };
        self.shares.took(group, branch);
        self.shares.gave_back(kind.group, kind.branch);
        (kind.group, kind.branch) = (group, branch);
    }

    /// Frees the slot of a request that was never sent.
    pub(super) fn give_back(&mut self, slot: BudgetSlot) {
        if let Some(Some(kind)) = self.remove(slot) {
            self.shares.gave_back(kind.group, kind.branch);
        }
    }

    fn moved(&mut self, slot: BudgetSlot, at: Instant) -> BudgetSlot {
        let moved = BudgetSlot(at, slot.1);
        if let Some(kind) = self.remove(slot) {
            self.insert(moved, kind);
        }
        moved
    }

    fn insert(&mut self, slot: BudgetSlot, kind: Option<RequestClass>) {
        self.spare += usize::from(kind.is_some_and(|kind| kind.urgency != Urgency::Refresh));
        self.taken.insert(slot, kind);
    }

    fn remove(&mut self, slot: BudgetSlot) -> Option<Option<RequestClass>> {
        let kind = self.taken.remove(&slot)?;
        self.spare -= usize::from(kind.is_some_and(|kind| kind.urgency != Urgency::Refresh));
        Some(kind)
    }

    /// Drops slots that have expired.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        while let Some((slot, _)) = self.taken.first_key_value() {
            let (slot, free) = (*slot, slot.0 + rate.per + SLACK);
            if free > now {
                break;
            }
            if let Some(Some(kind)) = self.remove(slot) {
                self.shares.expired(kind.group, kind.branch, free);
            }
        }
        self.shares.forget(rate.per, now);
    }

    /// When the next slot is free, if none is now.
    pub(super) fn spent_until(&self) -> Option<Instant> {
        let rate = self.rate?;
        self.free_at(self.taken.len(), count(rate), |_| true)
    }

    /// Whether unproven keys hold at most half of their reserved part.
    pub(super) fn has_room_to_prove(&self) -> bool {
        self.rate.is_none_or(|rate| self.shares.held(ShareGroup::Unproven) * 20 < count(rate))
    }

    /// How much of the budget is held, without naming callers.
    pub(super) fn holdings(&self) -> BudgetHoldings {
        self.shares.holdings()
    }

    /// The number of slots that a group holds, if that is at least its fair share.
    pub(super) fn held_beyond_share(&self, group: ShareGroup) -> Option<usize> {
        self.shares.held_beyond_share(group, count(self.rate?))
    }

    /// Whether no request of the last period still counts.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.taken.is_empty()
    }

    /// Whether less than a tenth is left: the due work is then close to the limit.
    pub(super) fn is_nearly_spent(&mut self, now: Instant) -> bool {
        let (left, limit) = (self.left(now), self.rate.map(count));
        left.zip(limit).is_some_and(|(left, limit)| left * 10 < limit)
    }

    /// The number of requests that may be sent at once; `None` without a limit.
    pub(super) fn left(&mut self, now: Instant) -> Option<usize> {
        self.expire(now);
        Some(count(self.rate?).saturating_sub(self.taken.len()))
    }
}

/// The longest time until upstream sees a request.
fn longest_way(rate: Rate) -> Duration {
    LONGEST_WAY.min(rate.per / WAY_PART)
}

fn count(rate: Rate) -> usize {
    usize::try_from(rate.count.get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
