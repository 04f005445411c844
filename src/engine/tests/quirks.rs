//! The rows of a scripted upstream, and what is odd about its lists.

use std::time::Duration;

use crate::domain::Timestamp;

/// An execution as the list has it. `version` goes up with every change and is in the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) id: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) status: String,
    pub(super) version: u32,
    /// Whether a voice mail answered; part of no bytes.
    pub(super) voice_mail: bool,
    /// Its provider; none if the row does not say. Upstream shows such a row whatever provider is asked for.
    pub(super) provider: Option<&'static str>,
    /// Upstream shows it from this instant on.
    pub(super) shown_at: Timestamp,
    /// Whether upstream writes `created_at` into it.
    pub(super) is_dated: bool,
}

/// What `total` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptTotals {
    Exact,
    Missing,
    OfEverything,
    Off(i64),
    /// What it was up to five seconds ago.
    Frozen,
    /// Sometimes one more or less.
    Unsteady,
}

/// How `from` and `to` are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Exact,
    /// Rows are cut to whole seconds first.
    RowsAtSeconds,
    /// The dates are not looked at.
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    NewestFirst,
    OldestFirst,
    ByUpdate,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Quirks {
    pub(super) totals: ScriptTotals,
    pub(super) compare: Compare,
    pub(super) listed: Listed,
    /// How far upstream's clock is ahead, in microseconds, and whether the source has learned it.
    pub(super) ahead: i64,
    /// The most that a request, and its answer, may take beyond the latency: so answers come out of turn.
    pub(super) jitter: Duration,
}
