use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{LoggedRow, ResultRows};
use crate::domain::{AgentId, Digest, RowId, Timestamp};

/// The most removed rows that a log remembers, in addition to those of the latest response that changed it.
const MOST_REMOVED: usize = 4_096;

/// The size of a log without its rows, in bytes: about what the registry's tables need for it.
const LOG_BYTES: usize = 512;

/// The number of a response that changed a log; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(pub(super) u32);

/// The rows of a question in its latest complete response, and for each row the response that last saw it
/// change. Immutable: a response with other rows makes the [next](Self::next) log.
///
/// # Invariants
/// A row that changed or was removed after `floor` is in it with the number of that response.
#[derive(Debug)]
pub(super) struct ChangeLog {
    sequence: Sequence,
    /// Rows that were removed up to this response are forgotten, so older cursors can't be answered.
    floor: Sequence,
    agents: BTreeMap<AgentId, Arc<AgentLog>>,
    digest: Digest,
    count: u64,
}

/// The rows of one agent.
#[derive(Debug, Default)]
struct AgentLog {
    /// In the order of their ids, each once.
    rows: Vec<LogEntry>,
    present: usize,
    digest: Digest,
    bytes: usize,
}

/// A row, and when it changed.
#[derive(Clone, Debug)]
struct LogEntry {
    row: LoggedRow,
    changed: Sequence,
    presence: Presence,
}

/// Whether a row is in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Removed,
}

/// A row that is no longer in the result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovedRow {
    /// Its agent.
    pub agent: AgentId,
    /// Its identifier.
    pub id: RowId,
}

/// The rows of one agent that a response no longer has.
#[derive(Clone, Debug)]
pub struct Vanished {
    /// Their agent.
    pub agent: AgentId,
    /// Whether the response has a section of the agent. An agent that is no longer listed is doubtful,
    /// whatever rows it had.
    pub is_listed: bool,
    /// Their ids, and when they were created.
    pub rows: Vec<(RowId, Timestamp)>,
}

impl ChangeLog {
    /// The log of a question's first response.
    pub(super) fn first(rows: &ResultRows) -> Self {
        let none = Self {
            sequence: Sequence(0),
            floor: Sequence(1),
            agents: BTreeMap::new(),
            digest: Digest::default(),
            count: 0,
        };
        none.followed_by(rows, Sequence(1))
    }

    /// The log after a response with these rows; `None` if all numbers are used up.
    pub(super) fn next(&self, rows: &ResultRows) -> Option<Self> {
        Some(self.followed_by(rows, Sequence(self.sequence.0.checked_add(1)?)))
    }

    fn followed_by(&self, rows: &ResultRows, sequence: Sequence) -> Self {
        let none = (Arc::default(), Vec::new());
        let mut agents = BTreeMap::new();
        for agent in self.agents.keys().chain(rows.agents.keys()) {
            let old = self.agents.get(agent).unwrap_or(&none.0);
            let new = rows.agents.get(agent).unwrap_or(&none.1);
            agents.entry(*agent).or_insert_with(|| old.followed_by(new, sequence));
        }
        let mut next =
            Self { sequence, floor: self.floor, agents, digest: rows.digest(), count: rows.count() };
        next.forget_removed();
        next
    }

    /// Forgets the rows that were removed longest ago, if there are too many.
    fn forget_removed(&mut self) {
        let mut removed: Vec<Sequence> =
            self.agents.values().flat_map(|agent| agent.removed()).map(|entry| entry.changed).collect();
        // The latest response's removed rows take the place of rows, and a client that lost it asks again.
        removed.retain(|at| *at < self.sequence);
        let Some(surplus) = removed.len().checked_sub(MOST_REMOVED + 1) else { return };
        let (_, floor, _) = removed.select_nth_unstable(surplus);
        self.floor = *floor;
        for agent in self.agents.values_mut() {
            if agent.removed().any(|entry| entry.changed <= self.floor) {
                *agent = Arc::new(agent.without_removed_up_to(self.floor));
            }
        }
        self.agents.retain(|_, agent| !agent.rows.is_empty());
    }

    /// The number of the latest response that changed it.
    pub(super) const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether it knows what changed since a response.
    pub(super) fn serves(&self, since: Sequence) -> bool {
        self.floor <= since && since <= self.sequence
    }

    /// Whether its rows have this digest.
    pub(super) fn is_of(&self, digest: Digest, count: u64) -> bool {
        (self.digest, self.count) == (digest, count)
    }

    /// Whether a row has not changed since a response.
    pub(super) fn is_unchanged(&self, since: Sequence, agent: AgentId, id: &RowId, digest: Digest) -> bool {
        self.agents.get(&agent).and_then(|agent| agent.find(id)).is_some_and(|entry| {
            entry.presence == Presence::Present && entry.row.digest == digest && entry.changed <= since
        })
    }

    /// The rows that may have been in the result after a response and are not among these.
    pub(super) fn removed(&self, since: Sequence, rows: &ResultRows) -> Vec<RemovedRow> {
        let mut removed = Vec::new();
        for (agent, log) in &self.agents {
            let missing = log.missing(rows.agents.get(agent).map_or(&[][..], Vec::as_slice));
            let may_be_known =
                missing.filter(|entry| entry.presence == Presence::Present || entry.changed > since);
            removed.extend(may_be_known.map(|entry| RemovedRow { agent: *agent, id: entry.row.id.clone() }));
        }
        removed
    }

    /// The rows that were removed after a response, if the log's rows are still those of the result.
    pub(super) fn removed_since(&self, since: Sequence) -> Vec<RemovedRow> {
        let removed = |(agent, log): (&AgentId, &Arc<AgentLog>)| {
            let since = log.removed().filter(|entry| entry.changed > since);
            since.map(|entry| RemovedRow { agent: *agent, id: entry.row.id.clone() }).collect::<Vec<_>>()
        };
        self.agents.iter().flat_map(removed).collect()
    }

    /// The agents most of whose rows are missing here, more than `few`, and those without a section that had
    /// rows.
    pub(super) fn vanished(&self, rows: &ResultRows, few: usize) -> Vec<Vanished> {
        let vanished = |(agent, log): (&AgentId, &Arc<AgentLog>)| {
            let section = rows.agents.get(agent);
            let now = section.map_or(&[][..], Vec::as_slice);
            let few = if section.is_some() { few } else { 0 };
            if log.present <= few || log.is_of(now) {
                return None;
            }
            let missing = log.missing(now).filter(|entry| entry.presence == Presence::Present);
            let gone: Vec<_> = missing.map(|entry| (entry.row.id.clone(), entry.row.created_at)).collect();
            let are_most = gone.len() > few && gone.len() * 2 > log.present;
            are_most.then_some(Vanished { agent: *agent, is_listed: section.is_some(), rows: gone })
        };
        self.agents.iter().filter_map(vanished).collect()
    }

    /// Its memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.agents.values().map(|agent| agent.bytes).sum::<usize>() + LOG_BYTES
    }

    /// The minimum memory of a log with this many rows, in bytes.
    pub(super) fn least_bytes(rows: &ResultRows) -> usize {
        usize::try_from(rows.count()).unwrap_or(usize::MAX).saturating_mul(size_of::<LogEntry>())
    }
}

impl AgentLog {
    fn of(mut rows: Vec<LogEntry>) -> Self {
        rows.shrink_to_fit();
        let present = || rows.iter().filter(|entry| entry.presence == Presence::Present);
        let mut digest = Digest::default();
        present().for_each(|entry| digest.add(entry.row.digest));
        let text: usize = rows.iter().map(|entry| entry.row.id.text_len()).sum();
        let bytes = size_of::<Self>() + rows.capacity() * size_of::<LogEntry>() + text;
        Self { present: present().count(), digest, bytes, rows }
    }

    /// Whether its present rows are these.
    fn is_of(&self, rows: &[LoggedRow]) -> bool {
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(row.digest));
        self.present == rows.len() && self.digest == digest
    }

    fn find(&self, id: &RowId) -> Option<&LogEntry> {
        let at = self.rows.binary_search_by(|entry| entry.row.id.cmp(id)).ok()?;
        self.rows.get(at)
    }

    fn removed(&self) -> impl Iterator<Item = &LogEntry> {
        self.rows.iter().filter(|entry| entry.presence == Presence::Removed)
    }

    /// The rows, including removed ones, that are not among these.
    fn missing<'a>(&'a self, rows: &'a [LoggedRow]) -> impl Iterator<Item = &'a LogEntry> {
        let mut rows = rows.iter().peekable();
        self.rows.iter().filter(move |entry| {
            while rows.next_if(|row| row.id < entry.row.id).is_some() {}
            rows.peek().is_none_or(|row| row.id != entry.row.id)
        })
    }

    /// The log after a response with these rows, which are sorted by id.
    fn followed_by(self: &Arc<Self>, rows: &[LoggedRow], sequence: Sequence) -> Arc<Self> {
        if self.is_of(rows) {
            return Arc::clone(self);
        }
        let mut merged = Vec::with_capacity(self.rows.len().max(rows.len()));
        let (mut old, mut new) = (self.rows.iter().peekable(), rows.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.row.id.cmp(&new.id),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => merged.extend(old.next().map(|entry| entry.gone(sequence))),
                Ordering::Greater => merged.extend(new.next().map(|row| LogEntry::of(row, sequence))),
                Ordering::Equal => {
                    merged.extend(old.next().zip(new.next()).map(|(old, new)| old.replaced(new, sequence)));
                }
            }
        }
        Arc::new(Self::of(merged))
    }

    fn without_removed_up_to(&self, floor: Sequence) -> Self {
        let is_kept = |entry: &&LogEntry| entry.presence == Presence::Present || entry.changed > floor;
        Self::of(self.rows.iter().filter(is_kept).cloned().collect())
    }
}

impl LogEntry {
    fn of(row: &LoggedRow, changed: Sequence) -> Self {
        Self { row: row.clone(), changed, presence: Presence::Present }
    }

    /// The row after a response that does not have it.
    fn gone(&self, sequence: Sequence) -> Self {
        match self.presence {
            Presence::Removed => self.clone(),
            Presence::Present => {
                Self { row: self.row.clone(), changed: sequence, presence: Presence::Removed }
            }
        }
    }

    /// The row after a response that has this row with the same id.
    fn replaced(&self, row: &LoggedRow, sequence: Sequence) -> Self {
        let is_same = self.presence == Presence::Present && self.row.digest == row.digest;
        Self::of(row, if is_same { self.changed } else { sequence })
    }
}
