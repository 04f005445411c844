use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::cursor::{Cursor, FollowedAgents, FollowedQuestion, LogKey, LogNumber};
use super::log::{ChangeLog, Sequence, Vanished};
use super::rows::ResultRows;
use crate::domain::{AgentId, CallerId, CredentialId, Digest, Timestamp};
use crate::telemetry::ChangeLogReadings;

/// How long a log is kept after its last use.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// A log that was used this recently is not dropped for another log of the same caller. Otherwise, a caller
/// with more questions than fit would lose each log before the next request for it, and read everything with
/// every poll.
const IN_USE_FOR: Duration = Duration::from_mins(15);

/// The maximum number of logs, whatever their size.
const MOST_LOGS: usize = 4_096;

/// This many rows of an agent may disappear without asking upstream again.
const FEW_ROWS: usize = 50;

/// The change logs of all questions, within one memory limit.
///
/// A log counts for the caller that used it last. If there is no room for another log, the caller that would
/// hold the most loses its least recently used logs.
#[derive(Debug)]
pub(in crate::engine) struct ChangeLogs {
    most: usize,
    logs: Mutex<HashMap<LogKey, KeptLog>>,
    dropped: AtomicU64,
}

#[derive(Clone, Debug)]
struct KeptLog {
    number: LogNumber,
    log: Arc<ChangeLog>,
    holder: CallerId,
    credential: CredentialId,
    agents: FollowedAgents,
    used_at: Timestamp,
}

/// A log as it is now.
#[derive(Clone, Debug)]
pub(super) struct CurrentLog {
    pub(super) number: LogNumber,
    pub(super) log: Arc<ChangeLog>,
}

/// The caller that follows a question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) caller: CallerId,
    pub(super) credential: CredentialId,
}

/// Why a response has no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The log alone would exceed the limit for one question.
    #[error(
        "the result has too many rows to be followed: its change log would take more than {0} bytes; narrow `from` and `to`"
    )]
    TooLarge(usize),
    /// The logs in use leave no room.
    #[error("the change logs in use leave no room for another one; a later request may get a cursor")]
    NoRoom,
    /// The request said `no-store`.
    #[error("the request says `no-store`, and a cursor needs a change log")]
    NoStore,
}

/// The outcome of logging a result.
#[derive(Debug)]
pub(super) enum Logged {
    /// A client with these rows gets this cursor.
    At(Cursor),
    /// It gets none.
    NotKept(NotKept),
    /// Most rows of an agent are gone, which upstream must confirm first.
    Doubtful(Vec<Vanished>),
}

/// Whether upstream confirmed that rows are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It was not asked.
    Needed,
    /// It did.
    Given,
}

impl ChangeLogs {
    /// An empty registry with this many bytes for logs.
    pub(in crate::engine) fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { most, logs: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// The largest log of one question, in bytes.
    pub(super) const fn most_of_one(&self) -> usize {
        self.most / 2
    }

    /// The log of a question.
    pub(super) fn find(&self, question: &FollowedQuestion, now: Timestamp) -> Option<CurrentLog> {
        let logs = self.logs.lock();
        let kept = logs.get(&question.key).filter(|kept| !kept.is_expired(now))?;
        Some(CurrentLog { number: kept.number, log: Arc::clone(&kept.log) })
    }

    /// Records that a caller uses a log.
    pub(super) fn touch(&self, question: &FollowedQuestion, by: Follower, now: Timestamp) {
        if let Some(kept) = self.logs.lock().get_mut(&question.key) {
            (kept.used_at, kept.holder) = (now, by.caller);
        }
    }

    /// Makes a result the latest of its question. Rows must be [sorted](ResultRows::sort).
    ///
    /// The next log has each row that differs from the log before, so all cursors stay valid, whatever is
    /// logged meanwhile.
    pub(super) fn log(
        &self,
        question: &FollowedQuestion,
        rows: &ResultRows,
        by: Follower,
        doubt: (Confirmation, Option<&ChangeLog>),
        now: Timestamp,
    ) -> Logged {
        loop {
            let current = self.find(question, now);
            if let Some(current) =
                current.as_ref().filter(|current| current.log.is_of(rows.digest(), rows.count()))
            {
                self.touch(question, by, now);
                return Logged::At(current.cursor(question, rows.digest(), rows.count()));
            }
            let vanished = vanished(current.as_ref(), rows, doubt);
            if !vanished.is_empty() {
                return Logged::Doubtful(vanished);
            }
            if ChangeLog::least_bytes(rows) > self.most_of_one() {
                self.drop_log(question);
                return Logged::NotKept(NotKept::TooLarge(self.most_of_one()));
            }
            let next = current.as_ref().and_then(|current| current.log.next(rows));
            let log = Arc::new(next.unwrap_or_else(|| ChangeLog::first(rows)));
            let Some(replaced) = self.replace(question, current.as_ref(), &log, by, now) else { continue };
            return match replaced {
                Ok(number) => {
                    Logged::At(CurrentLog { number, log }.cursor(question, rows.digest(), rows.count()))
                }
                Err(reason) => Logged::NotKept(reason),
            };
        }
    }

    /// The outcome of [`log`](Self::log) for a result that may not be logged.
    pub(super) fn doubts(
        &self,
        question: &FollowedQuestion,
        rows: &ResultRows,
        doubt: (Confirmation, Option<&ChangeLog>),
        now: Timestamp,
    ) -> Logged {
        let vanished = vanished(self.find(question, now).as_ref(), rows, doubt);
        if vanished.is_empty() { Logged::NotKept(NotKept::NoStore) } else { Logged::Doubtful(vanished) }
    }

    /// Drops the log of a question.
    pub(super) fn drop_log(&self, question: &FollowedQuestion) {
        self.logs.lock().remove(&question.key);
    }

    /// Replaces the log that this one was made from; `None` if another one was faster.
    fn replace(
        &self,
        question: &FollowedQuestion,
        current: Option<&CurrentLog>,
        next: &Arc<ChangeLog>,
        by: Follower,
        now: Timestamp,
    ) -> Option<Result<LogNumber, NotKept>> {
        let mut logs = self.logs.lock();
        logs.retain(|_, kept| !kept.is_expired(now));
        let is_current = match (logs.get(&question.key), current) {
            (Some(kept), Some(current)) => Arc::ptr_eq(&kept.log, &current.log),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_current {
            return None;
        }
        // A log that starts again at 1 has new cursors.
        let is_first = next.sequence() == Sequence(1);
        let number = current.filter(|_| !is_first).map(|current| current.number);
        let number = number.unwrap_or_else(|| LogNumber(rand::random()));
        logs.remove(&question.key);
        if next.bytes() > self.most_of_one() {
            return Some(Err(NotKept::TooLarge(self.most_of_one())));
        }
        let Some(to_drop) = self.room_for(&logs, next.bytes(), by.caller, now) else {
            return Some(Err(NotKept::NoRoom));
        };
        self.dropped.fetch_add(to_drop.len() as u64, Relaxed);
        to_drop.iter().for_each(|key| {
            logs.remove(key);
        });
        let kept = KeptLog {
            number,
            log: Arc::clone(next),
            holder: by.caller,
            credential: by.credential,
            agents: question.agents.clone(),
            used_at: now,
        };
        logs.insert(question.key, kept);
        Some(Ok(number))
    }

    /// The logs to drop to make room for another one of a caller; `None` if one of them must stay.
    fn room_for(
        &self,
        logs: &HashMap<LogKey, KeptLog>,
        bytes: usize,
        caller: CallerId,
        now: Timestamp,
    ) -> Option<Vec<LogKey>> {
        let mut total = logs.values().map(|kept| kept.log.bytes()).sum::<usize>() + bytes;
        if total <= self.most && logs.len() < MOST_LOGS {
            return Some(Vec::new());
        }
        let mut held: HashMap<CallerId, Holding<'_>> = HashMap::new();
        for (key, kept) in logs {
            let holding = held.entry(kept.holder).or_default();
            holding.bytes += kept.log.bytes();
            holding.logs.push((kept.used_at, key, kept.log.bytes()));
        }
        held.entry(caller).or_default().bytes += bytes;
        // Least recently used last, to be popped.
        held.values_mut().for_each(|held| held.logs.sort_unstable_by_key(|log| Reverse(log.0)));
        let mut to_drop = Vec::new();
        while total > self.most || logs.len() - to_drop.len() >= MOST_LOGS {
            // If both hold as much, the one that wants more loses.
            let (holder, largest) =
                held.iter_mut().max_by_key(|(holder, held)| (held.bytes, **holder == caller))?;
            let (used_at, key, freed) = *largest.logs.last()?;
            if *holder == caller && used_at.plus(IN_USE_FOR) >= now {
                return None;
            }
            largest.logs.pop();
            largest.bytes -= freed;
            total -= freed;
            to_drop.push(*key);
        }
        Some(to_drop)
    }

    /// Drops the logs about an agent, of one credential or of all.
    pub(in crate::engine) fn forget(&self, agent: Option<AgentId>, credential: Option<CredentialId>) {
        self.logs.lock().retain(|_, kept| {
            let is_about = agent.is_none_or(|agent| match &kept.agents {
                FollowedAgents::All | FollowedAgents::AllOf(_) => true,
                FollowedAgents::Some(agents) => agents.contains(&agent),
            });
            !(is_about && credential.is_none_or(|credential| kept.credential == credential))
        });
    }

    /// How many logs are kept, and how large they are.
    pub(in crate::engine) fn stats(&self) -> ChangeLogReadings {
        let logs = self.logs.lock();
        let bytes = logs.values().map(|kept| kept.log.bytes() as u64).sum();
        ChangeLogReadings { logs: logs.len(), bytes, dropped: self.dropped.load(Relaxed) }
    }
}

/// The logs of one caller.
#[derive(Default)]
struct Holding<'a> {
    bytes: usize,
    logs: Vec<(Timestamp, &'a LogKey, usize)>,
}

impl KeptLog {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.used_at.plus(KEPT_FOR) < now
    }
}

impl CurrentLog {
    /// The cursor of a client that has the rows of this log, with this digest.
    pub(super) fn cursor(&self, question: &FollowedQuestion, digest: Digest, count: u64) -> Cursor {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Cursor { question: question.binding, log: self.number, sequence: self.log.sequence(), digest, count }
    }
}

/// The agents most of whose rows are gone, compared with this log, or with the previous one if there is none.
fn vanished(
    current: Option<&CurrentLog>,
    rows: &ResultRows,
    (confirmation, before): (Confirmation, Option<&ChangeLog>),
) -> Vec<Vanished> {
    match confirmation {
        Confirmation::Given => Vec::new(),
        Confirmation::Needed => {
            let log = current.map(|current| &*current.log).or(before);
            log.map(|log| log.vanished(rows, FEW_ROWS)).unwrap_or_default()
        }
    }
}
