use std::collections::BTreeMap;

use crate::domain::{AgentId, Digest, EntryRow, RowId, Timestamp};

/// What a log stores of a row.
#[derive(Clone, Debug)]
pub(super) struct LoggedRow {
    pub(super) id: RowId,
    pub(super) digest: Digest,
    pub(super) created_at: Timestamp,
}

/// All rows of a response, without their bytes.
#[derive(Debug, Default)]
pub(super) struct ResultRows {
    /// Sorted by id after [`sort`](Self::sort).
    pub(super) agents: BTreeMap<AgentId, Vec<LoggedRow>>,
    digest: Digest,
    count: u64,
}

impl LoggedRow {
    /// What a log needs of a row.
    pub(super) fn of(row: &EntryRow<'_>) -> Self {
        Self { id: row.id(), digest: row.digest, created_at: row.created_at }
    }
}

impl ResultRows {
    /// Adds a row. Returns its memory in bytes.
    pub(super) fn add(&mut self, agent: AgentId, row: LoggedRow) -> usize {
        self.digest.add(row.digest);
        self.count += 1;
        let bytes = size_of::<LoggedRow>() + row.id.text_len();
        self.agents.entry(agent).or_default().push(row);
        bytes
    }

    /// Records that the response has a section of an agent.
    pub(super) fn section(&mut self, agent: AgentId) {
        self.agents.entry(agent).or_default();
    }

    /// Removes the rows of an agent.
    pub(super) fn take_back(&mut self, agent: AgentId) {
        for row in self.agents.insert(agent, Vec::new()).into_iter().flatten() {
            self.digest.0 = self.digest.0.wrapping_sub(row.digest.0);
            self.count -= 1;
        }
    }

    /// Sorts the rows by id.
    pub(super) fn sort(&mut self) {
        for rows in self.agents.values_mut() {
            rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            rows.dedup_by(|later, earlier| later.id == earlier.id);
        }
    }

    /// The sum of the rows' digests.
    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of rows.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}
