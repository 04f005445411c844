use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// An execution's status, in upstream's own word. The list of words grew several times, so it stays open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(Arc<str>);

/// The words after which a call is over. `call-disconnected` is not one of them: `completed` follows.
const TERMINAL: [&str; 8] =
    ["completed", "no-answer", "busy", "failed", "canceled", "stopped", "error", "balance-low"];

impl Status {
    /// Takes upstream's word as it is.
    pub fn new(word: &str) -> Self {
        Self(word.into())
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the call is over. What came after the call (cost, extraction, an automatic retry) may still
    /// change the row.
    pub fn is_terminal(&self) -> bool {
        TERMINAL.contains(&&*self.0)
    }
}

/// A set of statuses: rows in any of them are meant.
///
/// # Invariants
/// There is at least one. Canonical: sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statuses(Arc<[Status]>);

impl Statuses {
    /// The set of these, if there is one.
    pub fn new(statuses: impl IntoIterator<Item = Status>) -> Option<Self> {
        let statuses: BTreeSet<_> = statuses.into_iter().collect();
        (!statuses.is_empty()).then(|| Self(statuses.into_iter().collect()))
    }

    /// The statuses, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Status> {
        self.0.iter()
    }

    /// The status, of a set of one.
    pub fn only(&self) -> Option<&Status> {
        if let [only] = &*self.0 { Some(only) } else { None }
    }

    /// Whether a row in this status is meant.
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
