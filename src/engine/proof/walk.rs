//! A numbered walk over the pages of a span, and its proof.
//!
//! Upstream pages by offset over a list that moves. Pages read at different moments may repeat rows, which
//! shows, and lose rows, which does not. A walk is believed if everything is consistent with one list that at
//! most grew at its head: no page before the last was short, and as many rows were repeated as the total has
//! grown since the previous page; none if it has not changed. A row that leaves moves the rows behind it up,
//! and the total shrinks; a new row moves them down, and one of them is repeated. Counted from its end, a
//! list that grows at its head does not move.
//!
//! Pages that are requested together may be answered out of order, so that a later page shows an earlier
//! moment, with a smaller total. Such a page is requested once more ([`WalkStep::Again`]); if its total is
//! still smaller, the list has shrunk.
//!
//! Pages may arrive in any order, and are accepted by number. While the list is newest first, everything
//! above the oldest instant of the accepted pages is proven and emitted at once, because nothing can precede
//! it any more. Rows of that oldest instant wait, because the next page may have more of them. A list in
//! another order is emitted at its end, as a whole.
//!
//! Only the rows show whether a list is newest first, and a list sorted by last update, for example, may look
//! like it for a page. A row that changed late is too high in such a list, which shows in the row after it,
//! unless it is the last on its page. So the last few rows of a page wait as well, and a page of a single
//! instant shows nothing. Sixty old calls that were just run again, one after the other, look like the newest
//! rows. So while the list may also be sorted by last change, only what precedes the last changes of these
//! few rows is settled, too: no row was created after it was changed. If dates are ignored, this always
//! applies, and the list is walked to its end until it has shown its order once.
//!
//! Rows of one instant change their order with every request. If such rows are on both sides of a seam
//! between two pages, one may be repeated and another missing although the list did not move. Nothing else is
//! in doubt then, so only that instant is requested separately ([`WalkStep::Tied`]).
//!
//! A page with `has_more: false` is not believed to be the last one if the total says that there are more
//! rows. The next page shows which of the two is wrong; if it has no rows, the walk falls short of its total
//! ([`Walk::missing`]).
//!
//! The walk does not repair a failed proof; it says which part of the span is left.
//!
//! `claims` and `order` hold what was seen; `held` holds what is unproven or not emitted yet.

mod claims;
mod held;
mod order;
mod seen;

use std::collections::BTreeMap;
use std::time::Duration;

use self::claims::{Claims, Objection};
use self::held::{HeldRows, Ties};
use self::order::ListOrder;
use self::seen::SeenRows;
use super::beliefs::Beliefs;
use super::goal::{DateSupport, Extent, WalkEnd, WalkGoal};
use crate::domain::{Filters, NewRow, Page, Span, Timestamp};
use crate::engine::coverage::{Piece, place};

pub(in crate::engine) use self::order::Order;

/// The most rows that are held of a list that can't be emitted before its end.
const MAX_HELD_ROWS: usize = 10_000;

/// The next step after a page.
#[derive(Debug)]
pub(in crate::engine) enum WalkStep {
    /// Read more pages.
    Going,
    /// The walk is complete and proven.
    Whole,
    /// The proof failed. The rest of the span, and the instants at which rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
    /// Request the page of this number once more: it shows an earlier moment than the page before it.
    Again(u32),
    /// Request this instant separately: its rows are on both sides of a seam, and the second page had them in
    /// another order. The walk continues meanwhile.
    Tied(Timestamp),
    /// A row belongs above rows that were already emitted: the list is not newest first after all.
    Disordered,
}

/// A walk over the pages of a list; see the module.
#[derive(Debug)]
pub(in crate::engine) struct Walk {
    goal: WalkGoal,
    /// Pages that arrived before a page that precedes them.
    waiting: BTreeMap<u32, Page>,
    accepted: u32,
    claims: Claims,
    order: ListOrder,
    seen: SeenRows,
    held: HeldRows,
    reach: Reach,
    /// Whether a page had only rows of earlier pages.
    has_repeated: bool,
    /// Whether rows of earlier pages were explained by a list that grew at its head.
    has_grown: bool,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// More pages are needed.
    Within,
    /// The rest of the list is below the region.
    BelowRegion,
    /// The list has no further page.
    ListEnd,
}

/// Why a page has rows of earlier pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubles {
    None,
    /// The list grew at its head by as many rows.
    Grown,
    /// Rows of the seam's instant changed their order.
    Tied,
}

impl Walk {
    /// A walk over a list that has this order, as far as is known.
    pub(in crate::engine) fn new(goal: WalkGoal, order: Order, beliefs: Beliefs) -> Self {
        Self {
            goal,
            waiting: BTreeMap::new(),
            accepted: 0,
            claims: Claims::new(beliefs),
            order: ListOrder::of(order),
            seen: SeenRows::default(),
            held: HeldRows::of(goal.region),
            reach: Reach::Within,
            has_repeated: false,
            has_grown: false,
        }
    }

    /// Whether a walk that begins with this page can prove anything.
    ///
    /// A single page can. For several pages, only totals show whether the list moved: without one, nothing
    /// shows that a row left. With a filter on something that changes, one row may leave while another enters
    /// further down; no total shows that, and no row is repeated.
    pub(in crate::engine) fn suits(
        first: &Page,
        dates: DateSupport,
        beliefs: &Beliefs,
        filters: &Filters,
    ) -> bool {
        let has_telling_total = first.total.is_some() && !filters.can_change();
        match dates {
            DateSupport::Kept => {
                let has_more =
                    beliefs.says_more(first) || beliefs.lacks(first.total, first.rows.len() as u64);
                let is_walkable = has_telling_total && beliefs.total && beliefs.numbers;
                !has_more || (is_walkable && !first.rows.is_empty())
            }
            DateSupport::Ignored => has_telling_total || !first.has_more,
        }
    }

    /// Takes a page and returns the next step. [`Self::proven`] returns what it proved.
    pub(in crate::engine) fn take(&mut self, number: u32, page: Page) -> WalkStep {
        self.waiting.insert(number, page);
        self.go_on()
    }

    /// Continues with pages that have already arrived. To be called after [`WalkStep::Tied`] and
    /// [`WalkStep::Again`].
    pub(in crate::engine) fn go_on(&mut self) -> WalkStep {
        while !self.is_over() {
            let Some(page) = self.waiting.remove(&(self.accepted + 1)) else { break };
            match self.accept(page) {
                WalkStep::Going => {}
                end @ (WalkStep::Whole
                | WalkStep::Broken { .. }
                | WalkStep::Again(_)
                | WalkStep::Tied(_)
                | WalkStep::Disordered) => return end,
            }
        }
        self.end()
    }

    /// Takes all rows of a tied instant.
    pub(in crate::engine) fn untie(&mut self, instant: Timestamp, rows: Vec<NewRow>) -> WalkStep {
        self.held.untie(instant, rows);
        self.end()
    }

    /// The rows that can be emitted after the pages accepted so far; at the end, all rows.
    pub(in crate::engine) fn proven(&mut self, end: Extent) -> Option<Piece> {
        let confirmed = self.order.confirmed(self.goal.dates);
        self.held.give(end, confirmed, self.goal.asked_at)
    }

    /// How many pages from the first are accepted.
    pub(in crate::engine) const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// The likely number of pages of the walk: by the total, or, if the walk ends with its region, by the
    /// rate at which the pages so far have covered it. At least one more than were accepted.
    pub(in crate::engine) fn planned(&self) -> u32 {
        let by_total = self.claims.pages();
        let planned = match self.goal.ending {
            WalkEnd::AtItsEnd => by_total,
            WalkEnd::BelowRegion => {
                let region = self.goal.region;
                let passed = self.order.last_instant().map_or(Duration::ZERO, |last| region.to().since(last));
                let share = passed.as_secs_f64() / region.width().as_secs_f64().max(1.0);
                by_total.min((f64::from(self.accepted) / share.max(1e-6)).ceil() as u32)
            }
        };
        planned.max(self.accepted + 1)
    }

    /// What is believed of upstream's pages after the accepted ones.
    pub(in crate::engine) const fn beliefs(&self) -> &Beliefs {
        self.claims.beliefs()
    }

    /// Whether a page may be the last one, judging by that page alone.
    pub(in crate::engine) fn may_be_last(&self, number: u32, page: &Page) -> bool {
        let beliefs = self.beliefs();
        let position = u64::from(number - 1) * u64::from(beliefs.size()) + page.rows.len() as u64;
        !beliefs.says_more(page) && !beliefs.lacks(page.total, position)
    }

    /// The number of rows that the list lacks by its total, if that is believed; zero before the list has
    /// ended.
    pub(in crate::engine) fn missing(&self) -> u64 {
        if self.reach == Reach::ListEnd { self.claims.missing() } else { 0 }
    }

    /// Whether the walk broke at a page that had only rows of earlier pages.
    pub(in crate::engine) const fn has_repeated(&self) -> bool {
        self.has_repeated
    }

    /// How many rows were seen in a span.
    pub(in crate::engine) fn seen_within(&self, span: Span) -> usize {
        self.seen.instants.iter().filter(|at| span.contains(**at)).count()
    }

    /// How many rows wait to be emitted.
    pub(in crate::engine) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether the complete list was seen to be newest first.
    pub(in crate::engine) fn has_shown_order(&self) -> bool {
        self.reach == Reach::ListEnd && self.order.has_shown()
    }

    /// The order of the list, as far as seen.
    pub(in crate::engine) const fn order(&self) -> Order {
        self.order.order()
    }

    /// Whether upstream supports dates.
    pub(in crate::engine) const fn dates(&self) -> DateSupport {
        self.goal.dates
    }

    /// The span to be read completely.
    pub(in crate::engine) const fn region(&self) -> Span {
        self.goal.region
    }

    /// The rest of the region, below what was emitted.
    pub(in crate::engine) const fn rest(&self) -> Option<Span> {
        self.held.rest()
    }

    /// The instants of rows that were seen and not emitted.
    pub(in crate::engine) fn seen(&self) -> Vec<Timestamp> {
        let late = self.waiting.values().flat_map(|page| page.rows.iter().filter_map(|row| row.created_at));
        self.held.instants().chain(late).collect()
    }

    /// Whether no more pages are needed.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.reach != Reach::Within
    }

    fn accept(&mut self, page: Page) -> WalkStep {
        let number = self.accepted + 1;
        if self.held.len() > MAX_HELD_ROWS && self.goal.dates == DateSupport::Kept {
            return self.broken(&page);
        }
        let growth = match self.claims.growth(number, &page) {
            Ok(growth) => growth,
            Err(Objection::Earlier) => return WalkStep::Again(number),
            Err(Objection::Contradiction) => return self.broken(&page),
        };
        let Some(again) = self.seen.again(&page) else { return self.broken(&page) };
        let seam = self.order.last_instant();
        let Some(doubles) = self.explain(&again, growth, seam) else {
            self.has_repeated = !page.rows.is_empty() && again.len() == page.rows.len();
            return self.broken(&page);
        };
        let has_more = self.claims.accept(&page);
        let region = self.goal.region;
        let mut rows = place(page, seam, region, self.goal.asked_at.ours);
        if doubles == Doubles::Grown {
            rows.retain(|row| !self.seen.ids.contains(&row.row.id));
        }
        self.has_grown |= doubles == Doubles::Grown;
        let was_tieable = self.can_be_tied();
        self.seen.add(&rows);
        let held = &self.held;
        if self.order.follow(&rows, |at| held.has_given(at) && region.contains(at)).is_err() {
            return WalkStep::Disordered;
        }
        // The explanation of the repeated rows holds only for a list that is newest first.
        if was_tieable && !self.can_be_tied() && (self.has_grown || doubles != Doubles::None) {
            return self.broken_here();
        }
        self.held.add(rows.into_iter().filter(|row| region.contains(row.created_at)));
        self.accepted = number;
        if !has_more && self.waiting.values().any(|page| !page.rows.is_empty()) {
            return self.broken_here();
        }
        let is_past = self.order.confirmed(self.goal.dates).is_some_and(|instant| instant < region.from());
        self.reach = match (has_more, self.goal.ending) {
            (false, _) => Reach::ListEnd,
            (true, WalkEnd::BelowRegion) if is_past => Reach::BelowRegion,
            (true, WalkEnd::AtItsEnd | WalkEnd::BelowRegion) => Reach::Within,
        };
        // A list that grew below the seam may have a tie there that looks as if it had grown above.
        let in_doubt = seam.filter(|at| self.can_be_tied() && !again.is_empty() && region.contains(*at));
        match in_doubt {
            Some(seam) if self.held.tie(seam) => WalkStep::Tied(seam),
            Some(_) | None => self.end(),
        }
    }

    /// If dates are ignored, no instant can be requested separately; such a list grows only at its head.
    fn can_be_tied(&self) -> bool {
        self.order() == Order::NewestFirst && self.goal.dates == DateSupport::Kept
    }

    /// Why a page has rows of earlier pages with these instants; `None` if only a list that moved explains
    /// it.
    fn explain(&self, again: &[Option<Timestamp>], growth: u64, seam: Option<Timestamp>) -> Option<Doubles> {
        let can_be_tied = self.can_be_tied();
        let can_grow = can_be_tied || self.goal.dates == DateSupport::Ignored;
        match (growth, again.len() as u64) {
            (0, 0) => Some(Doubles::None),
            (0, _) => {
                let is_tie = can_be_tied && again.iter().all(|at| at.is_some() && *at == seam);
                is_tie.then_some(Doubles::Tied)
            }
            (growth, doubles) => (growth == doubles && can_grow).then_some(Doubles::Grown),
        }
    }

    /// Resolves ties and returns the next step.
    fn end(&mut self) -> WalkStep {
        let (is_over, last) = (self.is_over(), self.order.last_instant());
        match self.held.resolve(|instant| is_over || last.is_some_and(|last| last < instant)) {
            Ties::Refuted => self.broken_here(),
            Ties::Resolved if is_over => WalkStep::Whole,
            Ties::Resolved | Ties::Open => WalkStep::Going,
        }
    }

    fn broken(&self, page: &Page) -> WalkStep {
        match self.broken_here() {
            WalkStep::Broken { rest, mut seen } => {
                seen.extend(page.rows.iter().filter_map(|row| row.created_at));
                WalkStep::Broken { rest, seen }
            }
            step @ (WalkStep::Going
            | WalkStep::Whole
            | WalkStep::Again(_)
            | WalkStep::Tied(_)
            | WalkStep::Disordered) => step,
        }
    }

    fn broken_here(&self) -> WalkStep {
        self.rest().map_or(WalkStep::Whole, |rest| WalkStep::Broken { rest, seen: self.seen() })
    }
}

#[cfg(test)]
mod tests;
