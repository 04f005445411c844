use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::calendar::Calendar;
use super::facts::{Facts, GroupValue};
use super::question::MOST_GROUP_KEYS;
use super::{GroupKey, SummaryQuestion};
use crate::domain::{AgentId, NumberColumn, Timestamp};
use crate::shape::decimal::Summand;
use crate::shape::{Decimal, Zone};

/// The most groups of a response.
pub const MOST_GROUPS: usize = 10_000;

/// Why totals can't be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TotalsError {
    /// There are more than [`MOST_GROUPS`] groups. Reported at the first one too many.
    #[error(
        "`group_by` gives more than {MOST_GROUPS} groups; use a coarser unit of time, fewer keys, or a shorter range"
    )]
    TooManyGroups,
    /// A sum does not fit into a [`Decimal`].
    #[error("a sum has more than 26 digits before the point; use a shorter range")]
    SumTooLarge,
}

/// The totals of one question over all facts added so far.
#[derive(Debug)]
pub struct Totals {
    pub(super) question: Arc<SummaryQuestion>,
    pub(super) calendar: Calendar,
    /// The values of each path in `group_by`.
    keys: Vec<Interner<GroupValue>>,
    agents: Interner<AgentId>,
    known: HashMap<GroupId, usize>,
    pub(super) groups: Vec<(GroupId, GroupTotals)>,
    pub(super) histogram: Buckets,
}

/// The key of a group, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupId {
    /// `None` for rows without a date, and if groups have no time.
    pub(super) time: Option<u32>,
    /// One for each path in `group_by`, followed by zeros.
    keys: [u32; MOST_GROUP_KEYS],
    /// `None` unless groups are by agent.
    agent: Option<u32>,
}

/// The totals of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupTotals {
    pub(super) count: u64,
    pub(super) stats: Vec<Stat>,
}

/// The totals of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) count: u64,
    pub(super) skipped: u64,
    pub(super) sum: Decimal,
    /// The minimum and the maximum.
    pub(super) range: Option<(Decimal, Decimal)>,
}

/// The counts of a histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    pub(super) counts: Vec<u64>,
    pub(super) skipped: u64,
}

/// One part of a group's key. The order is that of groups in a response.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyPart {
    /// The row has no date.
    Undated,
    /// The first instant and the name of a time.
    Time(Timestamp, String),
    Agent(AgentId),
    Value(GroupValue),
}

/// Numbers distinct values, from 0 on.
#[derive(Clone, Debug)]
struct Interner<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl Totals {
    /// Totals of no rows.
    pub fn new(question: impl Into<Arc<SummaryQuestion>>, zone: Zone) -> Self {
        let question = question.into();
        let buckets = question.histogram().map_or(0, |histogram| histogram.bounds.len() + 1);
        Self {
            calendar: Calendar::new(zone, question.units()),
            keys: vec![Interner::default(); question.slots.keys.len()],
            question,
            agents: Interner::default(),
            known: HashMap::new(),
            groups: Vec::new(),
            histogram: Buckets { counts: vec![0; buckets], skipped: 0 },
        }
    }

    /// Adds rows of an agent, each as its position in the facts and its creation date, if it has one.
    ///
    /// The facts may come from any question with the same [`SummaryQuestion::columns`].
    ///
    /// # Errors
    /// There are too many groups, or a sum is too large; then the totals are useless.
    pub fn add(
        &mut self,
        agent: AgentId,
        facts: &Facts,
        rows: impl IntoIterator<Item = (usize, Option<Timestamp>)>,
    ) -> Result<(), TotalsError> {
        let by_agent = self.question.group_by().contains(&GroupKey::AgentId);
        let agent = by_agent.then(|| self.agents.number(&agent));
        let has_times = !self.calendar.is_empty();
        let (key_columns, number_columns): (Vec<_>, Vec<_>) =
            (facts.keys().collect(), facts.numbers().collect());
        let mut known: Vec<Vec<Option<u32>>> =
            key_columns.iter().map(|column| vec![None; column.words().len()]).collect();
        let mut last: Option<(GroupId, usize)> = None;
        for (row, created_at) in rows {
            let mut keys = [0; MOST_GROUP_KEYS];
            for (at, column) in key_columns.iter().enumerate() {
                let local = column.number(row);
                let number = || self.keys[at].number(&GroupValue::of_word(&column.words()[local]));
                keys[at] = *known[at][local].get_or_insert_with(number);
            }
            let time = created_at.filter(|_| has_times).map(|at| self.calendar.number(at));
            let id = GroupId { time, keys, agent };
            let at = match last {
                Some((same, at)) if same == id => at,
                _ => self.group(id)?,
            };
            last = Some((id, at));
            self.count(at, &number_columns, row)?;
        }
        Ok(())
    }

    /// Adds totals of other rows for the same question and time zone.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn merge(&mut self, other: &Self) -> Result<(), TotalsError> {
        for (id, group) in &other.groups {
            // The latest start of its times is part of all of them.
            let begins = |number| other.calendar.times(number).iter().map(|time| time.span.from()).max();
            let time = id.time.and_then(begins).map(|at| self.calendar.number(at));
            let mut keys = [0; MOST_GROUP_KEYS];
            for (at, (own, theirs)) in self.keys.iter_mut().zip(&other.keys).enumerate() {
                keys[at] = own.number(&theirs.values[id.keys[at] as usize]);
            }
            let agent = id.agent.map(|agent| self.agents.number(&other.agents.values[agent as usize]));
            let at = self.group(GroupId { time, keys, agent })?;
            let own = &mut self.groups[at].1;
            own.count += group.count;
            for (stat, part) in own.stats.iter_mut().zip(&group.stats) {
                stat.merge(part)?;
            }
        }
        self.histogram.skipped += other.histogram.skipped;
        for (count, more) in self.histogram.counts.iter_mut().zip(&other.histogram.counts) {
            *count += more;
        }
        Ok(())
    }

    fn group(&mut self, id: GroupId) -> Result<usize, TotalsError> {
        if let Some(&at) = self.known.get(&id) {
            return Ok(at);
        }
        if self.groups.len() == MOST_GROUPS {
            return Err(TotalsError::TooManyGroups);
        }
        let at = self.groups.len();
        self.groups.push((id, GroupTotals::new(self.question.stats().len())));
        self.known.insert(id, at);
        Ok(at)
    }

    fn count(&mut self, group: usize, numbers: &[&NumberColumn], row: usize) -> Result<(), TotalsError> {
        let summand = |column: &NumberColumn| Summand::of_cell(column.get(row));
        let group = &mut self.groups[group].1;
        group.count += 1;
        for (stat, column) in group.stats.iter_mut().zip(numbers) {
            stat.add(summand(column))?;
        }
        if let Some(histogram) = self.question.histogram()
            && let Some(column) = numbers.last()
        {
            self.histogram.add(&histogram.bounds, summand(column));
        }
        Ok(())
    }

    /// The totals over all groups.
    ///
    /// # Errors
    /// A sum is too large.
    pub(super) fn all(&self) -> Result<GroupTotals, TotalsError> {
        let mut all = GroupTotals::new(self.question.stats().len());
        for (_, group) in &self.groups {
            all.count += group.count;
            for (stat, part) in all.stats.iter_mut().zip(&group.stats) {
                stat.merge(part)?;
            }
        }
        Ok(all)
    }

    /// The parts of a group's key, in the order of `group_by`.
    pub(super) fn parts(&self, id: GroupId) -> Vec<KeyPart> {
        let mut times = id.time.map(|number| self.calendar.times(number).iter());
        let mut keys = self.keys.iter().zip(id.keys).map(|(known, number)| &known.values[number as usize]);
        let part = |key: &GroupKey| match key {
            GroupKey::Time(_) => match times.as_mut().and_then(Iterator::next) {
                Some(time) => KeyPart::Time(time.span.from(), time.label.clone()),
                None => KeyPart::Undated,
            },
            GroupKey::AgentId => {
                id.agent.map_or(KeyPart::Undated, |agent| KeyPart::Agent(self.agents.values[agent as usize]))
            }
            GroupKey::Path(_) => KeyPart::Value(keys.next().cloned().unwrap_or(GroupValue::Null)),
        };
        self.question.group_by().iter().map(part).collect()
    }
}

impl GroupTotals {
    fn new(stats: usize) -> Self {
        Self { count: 0, stats: vec![Stat::default(); stats] }
    }
}

impl Stat {
    fn add(&mut self, summand: Summand) -> Result<(), TotalsError> {
        match summand {
            Summand::Nothing => {}
            Summand::Skipped => self.skipped += 1,
            Summand::Number(number) => {
                self.merge(&Self { count: 1, skipped: 0, sum: number, range: Some((number, number)) })?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<(), TotalsError> {
        self.count += other.count;
        self.skipped += other.skipped;
        self.sum = self.sum.plus(other.sum).ok_or(TotalsError::SumTooLarge)?;
        self.range = match (self.range, other.range) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        Ok(())
    }
}

impl Buckets {
    fn add(&mut self, bounds: &[Decimal], summand: Summand) {
        match summand {
            Summand::Nothing => {}
            Summand::Skipped => self.skipped += 1,
            Summand::Number(number) => self.counts[bounds.partition_point(|bound| *bound < number)] += 1,
        }
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn number(&mut self, value: &T) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.numbers.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }
}
