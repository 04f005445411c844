//! A numbered walk over the pages of a span, and its proof.
//!
//! Upstream pages by offset over a list that moves, so pages read at different moments may repeat rows, which shows,
//! and lose rows, which does not. A walk is believed when nothing speaks against its having seen one list that at most
//! grew at its head: no page before the last was short, and as many rows came twice as the total grew since the page
//! before, which is none while it stays. A row that left moves those behind it up, and the total is smaller; a row that
//! came moves them down, and one of them comes twice. Counted from its end, a list that grows at its head does not move.
//!
//! Pages that were asked for together may be answered out of turn, so that a later one is of an earlier moment, with a
//! smaller total: it is asked for once more ([`WalkStep::Again`]), and what is smaller then has shrunk.
//!
//! Pages may arrive in any order; they are accepted in theirs. While the list is newest first, everything above the
//! oldest instant of the accepted pages is proven at once, and given out: nothing can come before it any more. Rows
//! of that oldest instant itself wait, because the next page may hold more of them. A list in another order is
//! given out whole, at its end.
//!
//! That a list is newest first shows only in its rows, and a list by last update, say, may look so for a page: a row
//! that changed late stands too high, which shows in the row after it, unless it happens to be the last on the page.
//! So the last few rows of a page wait as well, and a page of a single instant says nothing. And sixty old calls that
//! ran again just now, one after the other, look like the newest rows. So as long as the list may come by last change as
//! well, only that is past which lies before the last changes of these few rows, too: no row was made after it was
//! changed. Where the dates are ignored that holds always, and the list is walked to its end until that has shown its
//! order once.
//!
//! Rows of one instant come in another order at every request. Where such rows lie on both sides of a seam between
//! two pages, one may come twice and another not at all, though the list did not move: nothing else is in doubt then,
//! so that instant alone is asked again ([`WalkStep::Tied`]).
//!
//! A page that says "no more" while the total says that there are more is not taken for the last: the next page tells
//! which of the two is wrong, and if it has no rows, the walk falls short of its total ([`Walk::missing`]).
//!
//! The walk does not deal with a proof that fails: it says which part of the span is left.
//!
//! What was seen is in `claims` and `order`, what is still owed and what is proven in `held`.

mod claims;
mod held;
mod order;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use self::claims::{Claims, Objection};
use self::held::{HeldRows, Ties};
use self::order::ListOrder;
use super::beliefs::Beliefs;
use super::goal::{DateSupport, Extent, WalkEnd, WalkGoal};
use crate::domain::{Filters, NewRow, Page, RowId, Span, Timestamp};
use crate::engine::coverage::{Piece, place};

pub(in crate::engine) use self::order::Order;

/// The most rows that are held of a list that can't be given out before its end.
const MAX_HELD_ROWS: usize = 10_000;

/// What is to be done after a page.
#[derive(Debug)]
pub(in crate::engine) enum WalkStep {
    /// More pages are needed.
    Going,
    /// The walk is over and proven.
    Whole,
    /// The proof failed: this is what is left, with the instants at which rows were seen.
    Broken { rest: Span, seen: Vec<Timestamp> },
    /// The page of this number is to be asked for once more: it is of an earlier moment than the one before it.
    Again(u32),
    /// Rows of this instant lie on both sides of a seam, and came in another order on the second page: which of them
    /// there are must be asked apart. The walk goes on meanwhile.
    Tied(Timestamp),
    /// A row belongs above what was already given out: the list is not newest first after all.
    Disordered,
}

/// A walk over the pages of a list; see the module.
#[derive(Debug)]
pub(in crate::engine) struct Walk {
    goal: WalkGoal,
    /// Pages that arrived before one in front of them.
    waiting: BTreeMap<u32, Page>,
    accepted: u32,
    claims: Claims,
    order: ListOrder,
    seen: SeenRows,
    held: HeldRows,
    reach: Reach,
    /// Whether a page had nothing but rows of earlier ones.
    has_repeated: bool,
}

/// The rows of a list that were seen.
#[derive(Debug, Default)]
struct SeenRows {
    ids: HashSet<RowId>,
    /// Of all rows, those outside of the region and those that came twice included.
    instants: Vec<Timestamp>,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// More pages are needed.
    Within,
    /// The rest of the list lies below the region.
    BelowRegion,
    /// The list has no page after those accepted.
    ListEnd,
}

/// Why a page has rows of earlier pages, or has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubles {
    None,
    /// The list grew at its head by as many.
    Grown,
    /// Rows of the seam's instant come in another order.
    Tied,
}

impl Walk {
    /// A walk over a list that comes in this order as far as is known.
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
        }
    }

    /// Whether a walk that begins with this page can prove anything.
    ///
    /// A single page can. Of several, only totals tell when the list moves: without one nothing tells of a row that left.
    /// Under a filter on what changes one row may leave while another enters further down: no total tells that, and no row
    /// comes twice.
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

    /// Takes a page, and says what to do next. What it proved is had from [`Self::proven`].
    pub(in crate::engine) fn take(&mut self, number: u32, page: Page) -> WalkStep {
        self.waiting.insert(number, page);
        self.go_on()
    }

    /// Goes on with the pages that are there already; to be called after [`WalkStep::Tied`] and [`WalkStep::Again`].
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

    /// Takes all rows of an instant that was tied.
    pub(in crate::engine) fn untie(&mut self, instant: Timestamp, rows: Vec<NewRow>) -> WalkStep {
        self.held.untie(instant, rows);
        self.end()
    }

    /// What can be given out after the pages accepted so far; at the `end`, everything.
    pub(in crate::engine) fn proven(&mut self, end: Extent) -> Option<Piece> {
        let confirmed = self.order.confirmed(self.goal.dates);
        self.held.give(end, confirmed, self.goal.asked_at)
    }

    /// How many pages from the first are accepted.
    pub(in crate::engine) const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// How many pages the walk probably has: what the total says, or where it ends with its region, what is left of
    /// that at the rate of the pages so far. At least one more than there are.
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

    /// What is believed of upstream's pages after those accepted.
    pub(in crate::engine) const fn beliefs(&self) -> &Beliefs {
        self.claims.beliefs()
    }

    /// Whether a page may be the last one that there is, as far as it alone tells.
    pub(in crate::engine) fn may_be_last(&self, number: u32, page: &Page) -> bool {
        let beliefs = self.beliefs();
        let position = u64::from(number - 1) * u64::from(beliefs.size()) + page.rows.len() as u64;
        !beliefs.says_more(page) && !beliefs.lacks(page.total, position)
    }

    /// How many rows fewer than its total says the list had, if that is believed; none before it has ended.
    pub(in crate::engine) fn missing(&self) -> u64 {
        if self.reach == Reach::ListEnd { self.claims.missing() } else { 0 }
    }

    /// Whether the walk broke at a page that had nothing but rows of earlier ones.
    pub(in crate::engine) const fn has_repeated(&self) -> bool {
        self.has_repeated
    }

    /// How many rows were seen within a span.
    pub(in crate::engine) fn seen_within(&self, span: Span) -> usize {
        self.seen.instants.iter().filter(|at| span.contains(**at)).count()
    }

    /// How many rows wait to be given out.
    pub(in crate::engine) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether the whole list was seen to be newest first.
    pub(in crate::engine) fn has_shown_order(&self) -> bool {
        self.reach == Reach::ListEnd && self.order.has_shown()
    }

    /// In which order the list comes, as far as seen.
    pub(in crate::engine) const fn order(&self) -> Order {
        self.order.order()
    }

    /// Whether upstream is asked with dates.
    pub(in crate::engine) const fn dates(&self) -> DateSupport {
        self.goal.dates
    }

    /// All that it is to learn.
    pub(in crate::engine) const fn region(&self) -> Span {
        self.goal.region
    }

    /// What is left of the region below what was given out.
    pub(in crate::engine) const fn rest(&self) -> Option<Span> {
        self.held.rest()
    }

    /// The instants of rows that were seen and not given out.
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
        self.seen.add(&rows);
        let held = &self.held;
        if self.order.follow(&rows, |at| held.has_given(at) && region.contains(at)).is_err() {
            return WalkStep::Disordered;
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

    /// Where the dates are ignored no instant can be asked for alone; such a list grows at its head only.
    fn can_be_tied(&self) -> bool {
        self.order() == Order::NewestFirst && self.goal.dates == DateSupport::Kept
    }

    /// Why a page has rows of earlier pages, of which these are the instants; none if only a list that moved explains it.
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

    /// Resolves ties, and says where the walk stands.
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

impl SeenRows {
    /// The instants of those rows of a page that were seen before; none if the page itself has one twice.
    fn again(&self, page: &Page) -> Option<Vec<Option<Timestamp>>> {
        let mut here = HashSet::with_capacity(page.rows.len());
        if !page.rows.iter().all(|row| here.insert(&row.id)) {
            return None;
        }
        let again = page.rows.iter().filter(|row| self.ids.contains(&row.id));
        Some(again.map(|row| row.created_at).collect())
    }

    fn add(&mut self, rows: &[NewRow]) {
        self.ids.extend(rows.iter().map(|row| row.row.id.clone()));
        self.instants.extend(rows.iter().map(|row| row.created_at));
    }
}

#[cfg(test)]
mod tests;
