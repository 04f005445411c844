//! One agent's rows as compact records, sorted by `created_at`.

use std::ops::Range;

use bytes::Bytes;

use super::dice::Dice;
use super::facts::{Facts, PROVIDERS};
use super::life::{CallStatus, Life, Standing};
use super::paging::{PageAsked, cut};
use super::quirks::{OrderQuirk, TieQuirk};
use crate::domain::{BatchId, CallType, Filters, Provider, RowId, Status};

/// What is kept of a row, 32 bytes; everything else is drawn from the serial when somebody asks.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) created_at: i64,
    pub(super) serial: u32,
    /// The seconds after `created_at` past which nothing happens any more, rounded up.
    settles_after: u32,
    pub(super) facts: Facts,
    /// What somebody changed by hand.
    pub(super) edit: Option<Box<Edit>>,
}

/// What somebody changed of a row by hand; what is none is as drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Edit {
    pub(super) id: Option<RowId>,
    pub(super) status: Option<Status>,
    pub(super) updated_at: Option<i64>,
    pub(super) call_type: Option<CallType>,
    pub(super) provider: Option<Provider>,
    pub(super) voice_mail: Option<bool>,
    pub(super) batch_id: Option<BatchId>,
    pub(super) bytes: Option<Bytes>,
}

/// The first serial of live calls is after that of the seeded ones; that of rows put in by hand is this.
pub(super) const FIRST_INSERTED: u32 = 1 << 31;

/// What is asked of the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) filters: &'a Filters,
    /// The first and the last instant, both included.
    pub(super) bounds: (i64, i64),
    pub(super) page: PageAsked,
    pub(super) order: OrderQuirk,
    pub(super) ties: TieQuirk,
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
    /// How many rows there are.
    pub(super) everything: usize,
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

impl Record {
    pub(super) fn drawn(agent_seed: u64, serial: u32, created_at: i64) -> Self {
        let facts = Facts::of(agent_seed, serial);
        let settles = Life::of(agent_seed, serial, created_at, facts).settles_at() - created_at;
        let settles_after = u32::try_from(settles / 1_000_000 + 1).unwrap_or(u32::MAX);
        Self { created_at, serial, settles_after, facts, edit: None }
    }

    /// Where the call stands.
    pub(super) fn standing(&self, agent_seed: u64, now: i64) -> Standing {
        let life = Life::of(agent_seed, self.serial, self.created_at, self.facts);
        match &self.edit {
            None => life.at(now),
            Some(edit) => {
                let pinned = edit.status.as_ref().map(|s| CallStatus::named(s.as_str()));
                let standing = life.at(if pinned.is_some() { i64::MAX } else { now });
                Standing {
                    status: pinned.map_or(standing.status, |status| status.unwrap_or(CallStatus::Queued)),
                    changed_at: edit.updated_at.unwrap_or(standing.changed_at),
                    ..standing
                }
            }
        }
    }

    /// The word for where the call stands.
    pub(super) fn status_word(&self, standing: &Standing) -> &str {
        match self.edit.as_ref().and_then(|edit| edit.status.as_ref()) {
            Some(status) => status.as_str(),
            None => standing.status.as_str(),
        }
    }

    /// Whether the row answers to some filters.
    fn matches(&self, wanted: &Wanted<'_>, agent_seed: u64, now: i64) -> bool {
        let Wanted { filters, status, batch } = wanted;
        let edit = self.edit.as_deref();
        let call_type = edit.and_then(|e| e.call_type).unwrap_or(self.facts.call_type);
        if filters.call_type.is_some_and(|wanted| wanted != call_type) {
            return false;
        }
        if let Some(wanted) = &filters.provider {
            let drawn = PROVIDERS[usize::from(self.facts.provider) % PROVIDERS.len()];
            let provider = edit.and_then(|e| e.provider.as_ref()).map_or(drawn, Provider::as_str);
            if provider != wanted.as_str() {
                return false;
            }
        }
        if let Some(wanted) = batch {
            let id = match edit.and_then(|e| e.batch_id.as_ref()) {
                Some(id) => Some(plain(id)),
                None => self.facts.batch.map(|batch| batch.id(agent_seed)),
            };
            if id.as_ref() != Some(wanted) {
                return false;
            }
        }
        if !filters.can_change() {
            return true;
        }
        let is_settled = now >= self.created_at.saturating_add(i64::from(self.settles_after) * 1_000_000);
        if let (None, true) = (edit, is_settled) {
            // What most rows of a long history come to, without drawing their lives.
            return (filters.status.is_none() || *status == Some(self.facts.outcome))
                && filters.answered_by_voice_mail.is_none_or(|wanted| wanted == self.facts.voice_mail);
        }
        let standing = self.standing(agent_seed, now);
        let voice_mail = edit
            .and_then(|e| e.voice_mail)
            .or_else(|| standing.status.is_over().then_some(self.facts.voice_mail));
        filters.status.as_ref().is_none_or(|wanted| wanted.as_str() == self.status_word(&standing))
            && filters.answered_by_voice_mail.is_none_or(|wanted| voice_mail == Some(wanted))
    }
}

/// Filters with what would otherwise be worked out again for every row.
struct Wanted<'a> {
    filters: &'a Filters,
    status: Option<CallStatus>,
    batch: Option<String>,
}

/// A batch's identifier without its dashes: the documentation has it with, the rows without.
fn plain(id: &BatchId) -> String {
    id.as_str().chars().filter(|c| *c != '-').collect()
}

/// The positions of rows that match, in ascending order of `created_at` unless sorted otherwise.
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

    /// One page. Costs the page without filters, and a look at every row within the bounds with them.
    pub(super) fn page(&self, ask: &Ask<'_>) -> Found {
        let mut chosen = self.choose(ask);
        let updated_at =
            |position: usize| self.records[position].standing(self.agent_seed, ask.now).changed_at;
        let mut keys = Vec::new();
        if ask.order == OrderQuirk::LastUpdatedFirst {
            let mut these: Vec<_> = (0..chosen.len())
                .map(|place| chosen.position(place))
                .map(|position| (updated_at(position), position as u32))
                .collect();
            these.sort_by_key(|(updated_at, _)| std::cmp::Reverse(*updated_at));
            keys = these.iter().map(|(updated_at, _)| *updated_at).collect();
            chosen = Chosen::These(these.into_iter().map(|(_, position)| position).collect());
        }
        let matching = chosen.len();
        let position = |place: usize| match ask.order {
            OrderQuirk::NewestFirst => chosen.position(matching - 1 - place),
            OrderQuirk::OldestFirst | OrderQuirk::LastUpdatedFirst => chosen.position(place),
        };
        let key = |place: usize| match ask.order {
            OrderQuirk::LastUpdatedFirst => keys[place],
            OrderQuirk::NewestFirst | OrderQuirk::OldestFirst => self.records[position(place)].created_at,
        };
        let rows = cut(ask.page, matching, ask.ties, ask.request, key)
            .into_iter()
            .map(|place| {
                let record = self.records[position(place)].clone();
                let standing = record.standing(self.agent_seed, ask.now);
                (record, standing)
            })
            .collect();
        Found { rows, matching, everything: self.records.len() }
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
        let wanted = Wanted {
            filters: ask.filters,
            status: ask.filters.status.as_ref().and_then(|s| CallStatus::named(s.as_str())),
            batch: ask.filters.batch_id.as_ref().map(plain),
        };
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
