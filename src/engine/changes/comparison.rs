use super::cursor::{Cursor, FollowedQuestion};
use super::log::{ChangeLog, RemovedRow, Sequence, Vanished};
use super::registry::{ChangeLogs, Confirmation, CurrentLog, Follower, Logged, NotKept};
use super::rows::{LoggedRow, ResultRows};
use crate::domain::{AgentId, CallerId, CredentialId, EntrySlice, Timestamp};
use crate::engine::memory::{HeldMemory, MemoryLimit};
use crate::engine::terms::Verdict;

/// One response of a followed question: finds the rows that a client does not have yet.
///
/// It compares with the log as it was at the beginning, so what other responses log meanwhile does not
/// matter. Rows pass through [`take`](Self::take); [`finish`](Self::finish) returns the removed rows and the
/// cursor. A response that is not finished leaves the log unchanged.
#[derive(Debug)]
pub struct Comparison {
    question: FollowedQuestion,
    by: Follower,
    logging: Logging,
    since: Option<Cursor>,
    /// The log at the beginning, if it knows what changed since the cursor.
    base: Option<(CurrentLog, Sequence)>,
    collected: ComparedRows,
    /// The largest log, in bytes.
    most_bytes: usize,
    held: HeldMemory,
}

/// What is known about the rows of a response.
#[derive(Debug)]
enum ComparedRows {
    /// They are the rows of the log at the beginning.
    AsLogged,
    /// These rows, so far.
    Rows(ResultRows),
    /// More rows than a log may hold, in a response with all rows: nothing is compared with them.
    TooMany,
}

/// How much a response can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseExtent {
    /// All rows, because the client has none.
    Everything,
    /// What changed since the cursor.
    Changes,
    /// Nothing, if the client already has these rows; otherwise it must request everything.
    NothingOrGone,
}

/// Whether a response with this result may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// Yes.
    Allowed,
    /// The request said `no-store`.
    Forbidden,
}

/// How a response of a followed question ended.
#[derive(Debug)]
pub struct ChangesOutcome {
    /// Rows that the client may have and that are no longer in the result.
    pub removed: Vec<RemovedRow>,
    /// The cursor for the next request.
    pub cursor: Result<Cursor, NotKept>,
}

/// The outcome of a comparison.
#[derive(Debug)]
pub enum Finished {
    /// The response is complete.
    Complete(ChangesOutcome),
    /// Most rows of these agents are gone; upstream must confirm that before it is reported.
    Doubtful(Vec<Vanished>),
    /// The log is lost, and the client has other rows.
    Gone,
}

impl Comparison {
    /// Compares with what the client has.
    pub(in crate::engine) fn begin(
        logs: &ChangeLogs,
        question: FollowedQuestion,
        since: Option<Cursor>,
        (caller, credential): (CallerId, CredentialId),
        logging: Logging,
        now: Timestamp,
    ) -> Self {
        let by = Follower { caller, credential };
        let current = logs.find(&question, now);
        let base = current
            .zip(since)
            .filter(|(current, since)| current.number == since.log && current.log.serves(since.sequence));
        let base = base.map(|(current, since)| (current, since.sequence));
        let collected = ComparedRows::Rows(ResultRows::default());
        let most_bytes = logs.most_of_one();
        Self { question, by, logging, since, base, collected, most_bytes, held: HeldMemory::default() }
    }

    /// How much the response can contain.
    pub fn extent(&self) -> ResponseExtent {
        match (&self.base, self.since) {
            (Some(_), _) => ResponseExtent::Changes,
            (None, None) => ResponseExtent::Everything,
            (None, Some(_)) => ResponseExtent::NothingOrGone,
        }
    }

    /// Whether the client already has all of these rows.
    pub fn is_known(&self, verdict: &Verdict) -> bool {
        let is_latest = |(current, since): &(CurrentLog, Sequence)| {
            *since == current.log.sequence() && current.log.is_of(verdict.digest, verdict.count)
        };
        match &self.base {
            Some(base) => is_latest(base),
            None => self.since.is_some_and(|since| since.is_of(verdict.digest, verdict.count)),
        }
    }

    /// Records that the result will have these rows, before any of them is taken.
    pub fn expect(&mut self, verdict: &Verdict) {
        let is_logged =
            self.base.as_ref().is_some_and(|(current, _)| current.log.is_of(verdict.digest, verdict.count));
        if is_logged {
            self.collected = ComparedRows::AsLogged;
        }
    }

    /// The rows of a slice that the client does not have; `None` if it has all of them.
    ///
    /// # Errors
    /// There is not enough memory to remember the rows.
    pub fn take(&mut self, agent: AgentId, slice: EntrySlice) -> Result<Option<EntrySlice>, MemoryLimit> {
        if self.is_without_changes() {
            return Ok(None);
        }
        let extent = self.extent();
        let (collected, base) = (&mut self.collected, self.base.as_ref());
        let mut bytes = 0;
        let changed = slice.filtered(|row| {
            let row = LoggedRow::of(row);
            let is_known = match (extent, base) {
                (ResponseExtent::Changes, Some((current, since))) => {
                    current.log.is_unchanged(*since, agent, &row.id, row.digest)
                }
                (ResponseExtent::NothingOrGone, _) => true,
                (ResponseExtent::Everything | ResponseExtent::Changes, _) => false,
            };
            if let ComparedRows::Rows(rows) = collected {
                bytes += rows.add(agent, row);
            }
            !is_known
        });
        if bytes > 0 {
            self.held.hold_alone(bytes as u64)?;
        }
        if extent == ResponseExtent::Everything
            && let ComparedRows::Rows(rows) = &self.collected
            && ChangeLog::least_bytes(rows) > self.most_bytes
        {
            self.collected = ComparedRows::TooMany;
        }
        Ok(changed)
    }

    /// Whether the client certainly has all rows.
    fn is_without_changes(&self) -> bool {
        let is_latest = self.base.as_ref().is_some_and(|(current, since)| *since == current.log.sequence());
        is_latest && matches!(self.collected, ComparedRows::AsLogged)
    }

    /// From now on, counts what is remembered for the response as its memory: its rows, and the log that it
    /// compares with, which others may replace meanwhile.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn hold(&mut self, held: HeldMemory) -> Result<(), MemoryLimit> {
        self.held = held;
        match &self.base {
            Some((current, _)) if !self.is_without_changes() => {
                self.held.hold_alone(current.log.bytes() as u64)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Records that the response has a section of an agent, with or without rows.
    pub fn section(&mut self, agent: AgentId) {
        if let ComparedRows::Rows(rows) = &mut self.collected {
            rows.section(agent);
        }
    }

    /// Removes all rows of an agent: its answer starts again.
    pub fn restart(&mut self, agent: AgentId) {
        if let ComparedRows::Rows(rows) = &mut self.collected {
            rows.take_back(agent);
        }
    }

    /// The approximate number of bytes that [`finish`](Self::finish) processes.
    pub fn work(&self) -> usize {
        match &self.collected {
            ComparedRows::AsLogged | ComparedRows::TooMany => 0,
            ComparedRows::Rows(rows) => ChangeLog::least_bytes(rows),
        }
    }

    /// Records a use of the log, although the response is not compared with it.
    pub(in crate::engine) fn touch(&self, logs: &ChangeLogs, now: Timestamp) {
        if self.base.is_some() {
            logs.touch(&self.question, self.by, now);
        }
    }

    /// Ends the comparison with a complete result, and makes it the latest one of its question.
    pub(in crate::engine) fn finish(
        &mut self,
        logs: &ChangeLogs,
        verdict: &Verdict,
        confirmation: Confirmation,
        now: Timestamp,
    ) -> Finished {
        if self.extent() == ResponseExtent::NothingOrGone && !self.is_known(verdict) {
            return Finished::Gone;
        }
        let (question, by, base) = (&self.question, self.by, self.base.as_ref());
        let rows = match (&mut self.collected, base) {
            (ComparedRows::Rows(rows), _) => rows,
            (ComparedRows::AsLogged, Some((current, since))) => {
                logs.touch(question, by, now);
                let removed = current.log.removed_since(*since);
                let cursor = Ok(current.cursor(question, verdict.digest, verdict.count));
                return Finished::Complete(ChangesOutcome { removed, cursor });
            }
            (ComparedRows::AsLogged | ComparedRows::TooMany, _) => {
                logs.drop_log(question);
                let cursor = Err(NotKept::TooLarge(self.most_bytes));
                return Finished::Complete(ChangesOutcome { removed: Vec::new(), cursor });
            }
        };
        rows.sort();
        let base_log = base.map(|(current, _)| &*current.log);
        let logged = match self.logging {
            Logging::Allowed => logs.log(question, rows, by, (confirmation, base_log), now),
            Logging::Forbidden => logs.doubts(question, rows, (confirmation, base_log), now),
        };
        let cursor = match logged {
            Logged::Doubtful(vanished) => return Finished::Doubtful(vanished),
            Logged::At(cursor) => Ok(cursor),
            Logged::NotKept(reason) => Err(reason),
        };
        let removed = base.map(|(current, since)| current.log.removed(*since, rows)).unwrap_or_default();
        Finished::Complete(ChangesOutcome { removed, cursor })
    }
}
