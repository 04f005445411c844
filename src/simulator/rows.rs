//! One agent's rows as compact records, sorted by `created_at`.

use std::ops::Range;

use super::dice::Dice;
use super::life::Standing;
use super::page_asked::PageAsked;
use super::paging::cut;
use super::record::{Record, Wanted};
use super::settings::TieOrder;
use crate::domain::Filters;

/// The first serial of live calls is after that of the seeded ones; that of rows put in by hand is this.
pub(super) const FIRST_INSERTED: u32 = 1 << 31;

/// What is asked of the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) filters: &'a Filters,
    /// The first and the last instant, both included.
    pub(super) bounds: (i64, i64),
    pub(super) page: PageAsked,
    pub(super) ties: TieOrder,
    /// The number of the request, from which the order of ties is drawn.
    pub(super) request: u64,
    pub(super) now: i64,
    /// How late a live call may show up, in microseconds.
    pub(super) commit_lag: i64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The rows of the page, and where each call stands.
    pub(super) rows: Vec<(Record, Standing)>,
    /// How many rows match.
    pub(super) matching: usize,
}

/// One agent's rows.
#[derive(Debug)]
pub(super) struct Rows {
    agent_seed: u64,
    records: Vec<Record>,
    live: Option<Live>,
    seeded: u32,
    inserted: u32,
}

/// The next call to come.
#[derive(Debug)]
struct Live {
    gap: u64,
    serial: u32,
    at: i64,
}

/// The positions of rows that match, in ascending order of `created_at`.
enum Chosen {
    Run(Range<usize>),
    These(Vec<u32>),
}

impl Chosen {
    fn len(&self) -> usize {
        match self {
            Self::Run(run) => run.len(),
            Self::These(these) => these.len(),
        }
    }

    fn position(&self, place: usize) -> usize {
        match self {
            Self::Run(run) => run.start + place,
            Self::These(these) => these[place] as usize,
        }
    }
}

impl Rows {
    /// The seeded rows at these instants, by serial, and live ones from `epoch` on, on average `gap` apart.
    pub(super) fn new(agent_seed: u64, instants: &[i64], epoch: i64, gap: Option<u64>) -> Self {
        let mut records: Vec<_> =
            (0u32..).zip(instants).map(|(serial, at)| Record::drawn(agent_seed, serial, *at)).collect();
        records.sort_by_key(|record| record.created_at);
        let seeded = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let live = gap.map(|gap| Live { gap: gap.max(1), serial: seeded, at: epoch }.next(agent_seed));
        Self { agent_seed, records, live, seeded, inserted: 0 }
    }

    /// Takes in the live calls that were made until now.
    pub(super) fn grow(&mut self, now: i64) {
        while let Some(live) = &mut self.live
            && live.at <= now
        {
            let record = Record::drawn(self.agent_seed, live.serial, live.at);
            *live = live.next(self.agent_seed);
            self.put(record);
        }
    }

    /// Takes a row in at its place, after those of the same instant.
    pub(super) fn put(&mut self, record: Record) {
        let place = self.records.partition_point(|r| r.created_at <= record.created_at);
        self.records.insert(place, record);
    }

    /// A serial that no row has.
    pub(super) const fn unused_serial(&mut self) -> u32 {
        self.inserted += 1;
        FIRST_INSERTED + (self.inserted - 1)
    }

    /// How many rows there are.
    pub(super) const fn len(&self) -> usize {
        self.records.len()
    }

    /// The first row for which `is` holds, to be changed. Looks at all of them.
    pub(super) fn find(&mut self, is: impl Fn(&Record) -> bool) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| is(record))
    }

    /// Takes the first row away for which `is` holds.
    pub(super) fn remove(&mut self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        let position = self.records.iter().position(is)?;
        Some(self.records.remove(position))
    }

    /// One page, newest rows first. Costs the page without filters, and a look at every row within the bounds with them.
    pub(super) fn page(&self, ask: &Ask<'_>) -> Found {
        let chosen = self.choose(ask);
        let matching = chosen.len();
        let record = |place: usize| &self.records[chosen.position(matching - 1 - place)];
        let rows = cut(ask.page, matching, ask.ties, ask.request, |place| record(place).created_at)
            .into_iter()
            .map(|place| (record(place).clone(), record(place).standing(self.agent_seed, ask.now)))
            .collect();
        Found { rows, matching }
    }

    fn choose(&self, ask: &Ask<'_>) -> Chosen {
        let (first, last) = ask.bounds;
        let start = self.records.partition_point(|r| r.created_at < first);
        let end = self.records.partition_point(|r| r.created_at <= last).max(start);
        let run = start..end;
        let has_unseen = ask.commit_lag > 0 && last > ask.now - ask.commit_lag;
        if *ask.filters == Filters::default() && !has_unseen {
            return Chosen::Run(run);
        }
        let wanted = Wanted::new(ask.filters);
        let is_chosen = |position: &usize| {
            let record = &self.records[*position];
            (!has_unseen || self.is_committed(record, ask))
                && record.matches(&wanted, self.agent_seed, ask.now)
        };
        Chosen::These(run.filter(is_chosen).map(|position| position as u32).collect())
    }

    /// Whether a live row shows up already.
    fn is_committed(&self, record: &Record, ask: &Ask<'_>) -> bool {
        let is_live = (self.seeded..FIRST_INSERTED).contains(&record.serial);
        let lag =
            || Dice::of(&[self.agent_seed, u64::from(record.serial), 11]).below(ask.commit_lag as u64 + 1);
        !is_live || record.created_at.saturating_add_unsigned(lag()) <= ask.now
    }
}

impl Live {
    /// The call after this one.
    fn next(&self, agent_seed: u64) -> Self {
        let mut dice = Dice::of(&[agent_seed, u64::from(self.serial), 8]);
        let gap = self.gap / 5 + dice.below(self.gap * 8 / 5 + 1);
        Self {
            gap: self.gap,
            serial: (self.serial + 1).min(FIRST_INSERTED - 1),
            at: self.at.saturating_add_unsigned(gap.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// All rows within the first thousand seconds, as they are shown at an instant.
    fn shown(rows: &mut Rows, now: i64, commit_lag: i64) -> Vec<(u32, bool)> {
        rows.grow(now);
        let ask = Ask {
            filters: &Filters::default(),
            bounds: (0, 1_000 * SECOND),
            page: PageAsked::WHOLE,
            ties: TieOrder::Stable,
            request: 0,
            now,
            commit_lag,
        };
        rows.page(&ask).rows.into_iter().map(|(record, at)| (record.serial, at.status.is_over())).collect()
    }

    fn live() -> Rows {
        Rows::new(7, &[], 0, Some(10 * SECOND.unsigned_abs()))
    }

    #[test]
    fn live_calls_arrive_and_proceed_with_the_clock() {
        let mut watched = live();
        assert_eq!(shown(&mut watched, 0, 0), []);
        shown(&mut watched, 500 * SECOND, 0);
        let before = shown(&mut watched, 1_000 * SECOND, 0);
        assert!((60..160).contains(&before.len()), "{} calls", before.len());
        assert!(before.iter().any(|(_, is_over)| !is_over));
        assert_eq!(before, shown(&mut live(), 1_000 * SECOND, 0), "whenever they are first looked at");
        let later = shown(&mut watched, 9 * 86_400 * SECOND, 0);
        assert_eq!(later.len(), before.len());
        assert!(later.iter().all(|(_, is_over)| *is_over));
    }

    #[test]
    fn all_live_calls_appear_with_a_lag() {
        let serials = |now, lag| {
            let shown = shown(&mut live(), now * SECOND, lag * SECOND);
            shown.into_iter().map(|(serial, _)| serial).collect::<Vec<_>>()
        };
        let (all, early) = (serials(1_000, 0), serials(1_000, 120));
        assert!(early.len() < all.len() && early.iter().all(|serial| all.contains(serial)));
        assert_eq!(serials(1_120, 120), all);
    }
}
