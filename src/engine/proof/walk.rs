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
//! What the walk does about a proof that fails is not its business: it says which part of the span is left.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::beliefs::Beliefs;
use crate::domain::{NewRow, Page, RowId, Span, Timestamp};
use crate::engine::coverage::{Piece, place};
use crate::engine::terms::AskedAt;

/// How many pages more than its total says a list may have before that is taken to count something else.
const MAX_EXCESS_PAGES: u64 = 8;

/// The most rows that are held of a list that can't be given out before its end.
const MAX_HELD_ROWS: usize = 10_000;

/// How many rows at the end of a page wait for the next one to confirm the order.
const UNCONFIRMED: usize = 4;

/// Whether upstream is asked with dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum DateSupport {
    /// As its contract says.
    Kept,
    /// It takes none and answers with everything (`--window none`).
    Ignored,
}

/// Where a walk may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WalkEnd {
    /// Where the list ends.
    AtItsEnd,
    /// Where the list, which is known to be newest first, has passed the region.
    BelowRegion,
}

/// In which order a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Order {
    /// Newest `created_at` first.
    NewestFirst,
    /// Another, so that no part of the list says anything about a span.
    Other,
}

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

/// When a row was made, and when it was changed last, if upstream says both.
#[derive(Clone, Copy, Debug)]
struct Instants {
    created_at: Timestamp,
    changed_at: Option<Timestamp>,
}

/// An instant of which rows lie on both sides of a seam.
#[derive(Debug, Default)]
struct Tie {
    /// Its rows, once they were asked apart.
    rows: Option<Vec<NewRow>>,
}

#[derive(Debug)]
pub(in crate::engine) struct Walk {
    region: Span,
    dates: DateSupport,
    asked_at: AskedAt,
    order: Order,
    ending: WalkEnd,
    beliefs: Beliefs,
    /// That of the last page accepted.
    total: Option<u64>,
    full_page: usize,
    waiting: BTreeMap<u32, Page>,
    accepted: u32,
    ids: HashSet<RowId>,
    held: Vec<NewRow>,
    /// Instants of which it is not known which rows there are.
    tied: BTreeMap<Timestamp, Tie>,
    is_over: bool,
    /// Whether the list has no page after those accepted.
    has_ended: bool,
    /// The last page that was asked for once more.
    asked_again: u32,
    /// What the last page's `has_more` said.
    said_more: bool,
    /// Whether a page had nothing but rows of earlier ones.
    has_repeated: bool,
    /// Of all rows, those outside of the region and those that came twice included.
    instants: Vec<Timestamp>,
    last_instant: Timestamp,
    /// Those of the last rows, for [`Self::confirmed`].
    last_few: VecDeque<Instants>,
    last_change: Timestamp,
    /// Whether no row was changed later than one before it: then the list may come by last change as well.
    may_be_by_change: bool,
    /// Whether any row was older than one before it.
    descends: bool,
    count: u64,
    /// The part of the region that was not given out yet; none once all was.
    rest: Option<Span>,
}

impl Walk {
    /// A walk to learn all of `region`, whose first page went upstream then.
    pub(in crate::engine) fn new(
        region: Span,
        dates: DateSupport,
        order: Order,
        ending: WalkEnd,
        asked_at: AskedAt,
        beliefs: Beliefs,
    ) -> Self {
        Self {
            region,
            dates,
            asked_at,
            order,
            ending,
            beliefs,
            total: None,
            full_page: beliefs.size() as usize,
            waiting: BTreeMap::new(),
            accepted: 0,
            ids: HashSet::new(),
            held: Vec::new(),
            tied: BTreeMap::new(),
            is_over: false,
            has_ended: false,
            asked_again: 0,
            said_more: false,
            has_repeated: false,
            instants: Vec::new(),
            last_instant: Timestamp::MAX,
            last_few: VecDeque::with_capacity(UNCONFIRMED + 1),
            last_change: Timestamp::MAX,
            may_be_by_change: true,
            descends: false,
            count: 0,
            rest: Some(region),
        }
    }

    /// Takes a page, and says what to do next. What it proved is had from [`Self::proven`].
    pub(in crate::engine) fn take(&mut self, number: u32, page: Page) -> WalkStep {
        self.waiting.insert(number, page);
        self.go_on()
    }

    /// Goes on with the pages that are there already; to be called after [`WalkStep::Tied`] and [`WalkStep::Again`].
    pub(in crate::engine) fn go_on(&mut self) -> WalkStep {
        while !self.is_over {
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

    /// How many pages from the first are accepted.
    pub(in crate::engine) const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// How many pages the walk probably has: what the total says, or where it ends with its region, what is left of
    /// that at the rate of the pages so far. At least one more than there are.
    pub(in crate::engine) fn planned(&self) -> u32 {
        let by_total = self.total.map_or(0, |total| total.div_ceil(self.beliefs.size().into()));
        let by_total = u32::try_from(by_total).unwrap_or(u32::MAX);
        let planned = match self.ending {
            WalkEnd::AtItsEnd => by_total,
            WalkEnd::BelowRegion => {
                let (width, passed) = (self.region.width(), self.region.to().since(self.last_instant));
                let share = passed.as_secs_f64() / width.as_secs_f64().max(1.0);
                by_total.min((f64::from(self.accepted) / share.max(1e-6)).ceil() as u32)
            }
        };
        planned.max(self.accepted + 1)
    }

    /// What is believed of upstream's pages after those accepted.
    pub(in crate::engine) const fn beliefs(&self) -> Beliefs {
        self.beliefs
    }

    /// Whether a page may be the last one that there is, as far as it alone tells.
    pub(in crate::engine) fn may_be_last(&self, number: u32, page: &Page) -> bool {
        let position = u64::from(number - 1) * u64::from(self.beliefs.size()) + page.rows.len() as u64;
        !self.beliefs.says_more(page) && !self.beliefs.lacks(page.total, position)
    }

    /// How many rows fewer than its total says the list had, if that is believed; none before it has ended.
    pub(in crate::engine) fn missing(&self) -> u64 {
        let is_short = self.has_ended && self.beliefs.lacks(self.total, self.count);
        self.total.filter(|_| is_short).map_or(0, |total| total - self.count)
    }

    /// Whether the walk broke at a page that had nothing but rows of earlier ones.
    pub(in crate::engine) const fn has_repeated(&self) -> bool {
        self.has_repeated
    }

    /// How many rows were seen within a span.
    pub(in crate::engine) fn seen_within(&self, span: Span) -> usize {
        self.instants.iter().filter(|at| span.contains(**at)).count()
    }

    /// How many rows wait to be given out.
    pub(in crate::engine) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether the whole list was seen to be newest first.
    pub(in crate::engine) fn has_shown_order(&self) -> bool {
        self.has_ended && self.order == Order::NewestFirst && self.descends
    }

    /// In which order the list comes, as far as seen.
    pub(in crate::engine) const fn order(&self) -> Order {
        self.order
    }

    /// All that it is to learn.
    pub(in crate::engine) const fn region(&self) -> Span {
        self.region
    }

    /// What is left of the region below what was given out.
    pub(in crate::engine) const fn rest(&self) -> Option<Span> {
        self.rest
    }

    /// The instants of rows that were seen and not given out.
    pub(in crate::engine) fn seen(&self) -> Vec<Timestamp> {
        let late = self.waiting.values().flat_map(|page| page.rows.iter().filter_map(|row| row.created_at));
        self.held.iter().map(|row| row.created_at).chain(late).collect()
    }

    fn accept(&mut self, page: Page) -> WalkStep {
        let number = self.accepted + 1;
        if number == 1 {
            self.total = page.total;
            self.full_page = page.rows.len();
        }
        self.beliefs.saw(page.rows.len());
        let after = self.count + page.rows.len() as u64;
        let says_more = self.beliefs.says_more(&page);
        let is_at_total = number > 1 && page.total == Some(after);
        let is_short = says_more && page.rows.len() < self.full_page.max(1) && !is_at_total;
        let excess = MAX_EXCESS_PAGES * u64::from(self.beliefs.size());
        if self.beliefs.total && page.total.is_some_and(|total| after > total + excess) {
            self.beliefs.total = false;
            return self.broken(&page);
        }
        if self.held.len() > MAX_HELD_ROWS && self.dates == DateSupport::Kept {
            return self.broken(&page);
        }
        let growth = match (self.total, page.total) {
            (Some(before), Some(now)) if now < before && self.asked_again < number => {
                self.asked_again = number;
                return WalkStep::Again(number);
            }
            (Some(before), Some(now)) => now.checked_sub(before),
            (None, None) => Some(0),
            (Some(_), None) | (None, Some(_)) => None,
        };
        let Some(growth) = growth.filter(|_| !is_short) else { return self.broken(&page) };
        let seam = self.last_instant;
        let (mut doubles, mut here) = (Vec::new(), HashSet::with_capacity(page.rows.len()));
        for row in &page.rows {
            if !here.insert(row.id.clone()) {
                return self.broken(&page);
            }
            if self.ids.contains(&row.id) {
                doubles.push(row.created_at);
            }
        }
        // Where the dates are ignored no instant can be asked for alone; such a list grows at its head only.
        let can_be_tied = self.order == Order::NewestFirst && self.dates == DateSupport::Kept;
        let has_grown = growth > 0
            && doubles.len() as u64 == growth
            && (can_be_tied || self.dates == DateSupport::Ignored);
        let is_tie = growth == 0 && can_be_tied && doubles.iter().all(|at| *at == Some(seam));
        let is_unmoved = growth == 0 && doubles.is_empty();
        if !is_unmoved && !has_grown && !is_tie {
            self.has_repeated = !page.rows.is_empty() && doubles.len() == page.rows.len();
            return self.broken(&page);
        }
        let has_more = !page.rows.is_empty() && (says_more || self.beliefs.lacks(page.total, after));
        // What the page before said of this one.
        self.beliefs.has_more &= number == 1 || self.said_more != page.rows.is_empty();
        self.said_more = page.has_more;
        self.total = page.total;
        self.count = after;
        let before = (number > 1).then_some(self.last_instant);
        let mut rows = place(page, before, self.region, self.asked_at.ours);
        if has_grown {
            rows.retain(|row| !self.ids.contains(&row.row.id));
        }
        self.ids.extend(here);
        self.instants.extend(rows.iter().map(|row| row.created_at));
        if let Err(step) = self.order_of(&rows) {
            return step;
        }
        let region = self.region;
        self.held.extend(rows.into_iter().filter(|row| region.contains(row.created_at)));
        self.accepted = number;
        if !has_more && self.waiting.values().any(|page| !page.rows.is_empty()) {
            return self.broken_here();
        }
        let is_past = self.confirmed().is_some_and(|instant| instant < region.from());
        self.has_ended = !has_more;
        self.is_over = self.has_ended || (is_past && self.ending == WalkEnd::BelowRegion);
        // A list that grew below the seam may have a tie there that looks as if it had grown above.
        let is_in_doubt = can_be_tied && !doubles.is_empty();
        if is_in_doubt && region.contains(seam) && !self.tied.contains_key(&seam) {
            self.tied.insert(seam, Tie::default());
            return WalkStep::Tied(seam);
        }
        self.end()
    }

    /// Takes all rows of an instant that was tied.
    pub(in crate::engine) fn untie(&mut self, instant: Timestamp, rows: Vec<NewRow>) -> WalkStep {
        if let Some(tie) = self.tied.get_mut(&instant) {
            tie.rows = Some(rows);
        }
        self.end()
    }

    /// Puts the rows of ties in their places, and says where the walk stands.
    ///
    /// A tie explains a double only if the pages had as many positions at its instant as there are rows. Else the
    /// list moved.
    fn end(&mut self) -> WalkStep {
        let passed = |instant: &Timestamp| self.is_over || self.last_instant < *instant;
        let known: Vec<Timestamp> = self
            .tied
            .iter()
            .filter(|(at, tie)| tie.rows.is_some() && passed(at))
            .map(|(at, _)| *at)
            .collect();
        for instant in known {
            // A row without a date may have found its place here; it was not asked for by this instant.
            let is_here = |row: &NewRow| row.row.created_at == Some(instant);
            let rows = self.tied.get_mut(&instant).and_then(|tie| tie.rows.take()).unwrap_or_default();
            let rows: Vec<NewRow> = rows.into_iter().filter(is_here).collect();
            let positions = self.held.iter().filter(|row| is_here(row)).count();
            if rows.len() != positions {
                // The instant stays tied: nothing that was seen of it counts.
                return self.broken_here();
            }
            self.tied.remove(&instant);
            self.held.retain(|row| !is_here(row));
            self.held.extend(rows);
        }
        if self.is_over && self.tied.is_empty() { WalkStep::Whole } else { WalkStep::Going }
    }

    fn highest_tie(&self) -> Timestamp {
        self.tied.keys().next_back().copied().unwrap_or(Timestamp::MIN)
    }

    /// Whether no more pages are needed.
    pub(in crate::engine) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Follows the order of the list through a page.
    fn order_of(&mut self, rows: &[NewRow]) -> Result<(), WalkStep> {
        for NewRow { created_at, row, .. } in rows {
            let created_at = *created_at;
            // A row without a date says nothing of the order, wherever it was put.
            if row.created_at.is_some() {
                if created_at > self.last_instant {
                    self.order = Order::Other;
                }
                let was_given = self.rest.is_none_or(|rest| created_at > rest.to());
                if was_given && self.region.contains(created_at) {
                    return Err(WalkStep::Disordered);
                }
                self.descends |= created_at < self.last_instant && self.last_instant < Timestamp::MAX;
                self.last_instant = created_at;
            }
            if self.last_few.len() > UNCONFIRMED {
                self.last_few.pop_front();
            }
            let changed_at = row.created_at.and(row.updated_at).map(|at| at.max(created_at));
            self.may_be_by_change &= changed_at.is_none_or(|at| at <= self.last_change);
            self.last_change = changed_at.unwrap_or(self.last_change);
            self.last_few.push_back(Instants { created_at, changed_at });
        }
        Ok(())
    }

    /// The instant above which nothing can come any more, if the list is newest first; none while that can't be said.
    fn confirmed(&self) -> Option<Timestamp> {
        let is_ordered =
            self.order == Order::NewestFirst && self.descends && self.last_few.len() > UNCONFIRMED;
        let instants = self.last_few.iter().map(|instants| match (self.dates, instants.changed_at) {
            (DateSupport::Kept, Some(changed_at)) if self.may_be_by_change => changed_at,
            (DateSupport::Kept, _) => instants.created_at,
            (DateSupport::Ignored, changed_at) => changed_at.unwrap_or(Timestamp::MAX),
        });
        instants.max().filter(|_| is_ordered)
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
        self.rest.map_or(WalkStep::Whole, |rest| WalkStep::Broken { rest, seen: self.seen() })
    }

    /// What can be given out after the pages accepted so far; at the `end`, everything.
    pub(in crate::engine) fn proven(&mut self, end: Extent) -> Option<Piece> {
        let rest = self.rest?;
        let part = match end {
            Extent::Whole => rest,
            Extent::Prefix => rest.after(self.confirmed()?.max(self.highest_tie()))?,
        };
        let (given, held) =
            std::mem::take(&mut self.held).into_iter().partition(|row| part.contains(row.created_at));
        self.held = held;
        self.rest = rest.before(part.from());
        Some(Piece::new(part, given, self.asked_at))
    }
}

/// How much of a walk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Extent {
    /// What lies above the oldest instant of the accepted pages.
    Prefix,
    /// All of it: the walk is whole.
    Whole,
}

#[cfg(test)]
mod tests;
