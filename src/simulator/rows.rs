//! One agent's rows as compact records, sorted by `created_at`.

use std::ops::Range;

use super::dice::Dice;
use super::life::Standing;
use super::page_asked::PageAsked;
use super::paging::cut;
use super::record::{Record, Wanted};
use super::settings::TieOrder;
use crate::domain::Filters;

/// The first serial of rows that are inserted by hand. Those of live calls follow the seeded ones.
pub(super) const FIRST_INSERTED: u32 = 1 << 31;

/// A request for rows.
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

/// The result of a request.
#[derive(Debug)]
pub(super) struct Found {
    /// The rows of the page, and the state of each call.
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

/// The next call.
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

    /// Adds the live calls that were made until now.
    pub(super) fn grow(&mut self, now: i64) {
        while let Some(live) = &mut self.live
            && live.at <= now
        {
            let record = Record::drawn(self.agent_seed, live.serial, live.at);
            *live = live.next(self.agent_seed);
            self.put(record);
        }
    }

    /// Inserts a row at its place, after those of the same instant.
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

    /// Removes the first row for which `is` holds.
    pub(super) fn remove(&mut self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        let position = self.records.iter().position(is)?;
        Some(self.records.remove(position))
    }

    /// One page, newest rows first. Costs the page without filters, and a look at every row within the bounds
    /// with them.
    pub(super) fn page(&self, ask: &Ask<'_>) -> Found {
        let chosen = self.choose(ask);
        let matching = chosen.len();
        let position = |place: usize| chosen.position(matching - 1 - place);
        let key = |place: usize| self.records[position(place)].created_at;
        let rows = cut(ask.page, matching, ask.ties, ask.request, key)
            .into_iter()
            .map(|place| {
                let record = self.records[position(place)].clone();
                let standing = record.standing(self.agent_seed, ask.now);
                (record, standing)
            })
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

    /// Whether a live row is already visible.
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
