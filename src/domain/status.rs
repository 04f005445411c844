use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::words;

/// An execution's status, by upstream's name for it. An open set: the list of names has grown several times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(Arc<str>);

/// The statuses in which a call is over. `call-disconnected` is not one of them: `completed` follows.
const TERMINAL: [&str; 8] =
    ["completed", "no-answer", "busy", "failed", "canceled", "stopped", "error", "balance-low"];

impl Status {
    /// Creates a status from upstream's name.
    pub fn new(word: &str) -> Self {
        Self(words::word(word))
    }

    /// Creates a status from upstream's name, which is shared with other rows.
    pub const fn of_shared(word: Arc<str>) -> Self {
        Self(word)
    }

    /// Upstream's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the call is over. Later events (costs, extraction, an automatic retry) may still change the row.
    pub fn is_terminal(&self) -> bool {
        TERMINAL.contains(&&*self.0)
    }
}

/// A set of statuses, which selects rows in any of them.
///
/// # Invariants
/// Has at least one status. Canonical: sorted, each status once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statuses(Arc<[Status]>);

impl Statuses {
    /// Creates a set; `None` if there are no statuses.
    pub fn new(statuses: impl IntoIterator<Item = Status>) -> Option<Self> {
        let statuses: BTreeSet<_> = statuses.into_iter().collect();
        (!statuses.is_empty()).then(|| Self(statuses.into_iter().collect()))
    }

    /// The statuses, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Status> {
        self.0.iter()
    }

    /// The only status, if the set has exactly one.
    pub fn only(&self) -> Option<&Status> {
        if let [only] = &*self.0 { Some(only) } else { None }
    }

    /// Whether the set selects a row in this status.
    pub fn has(&self, status: Option<&Status>) -> bool {
        status.is_some_and(|status| self.0.contains(status))
    }
}

impl From<Status> for Statuses {
    fn from(only: Status) -> Self {
        Self([only].into())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
