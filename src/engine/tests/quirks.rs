//! The rows of a scripted upstream, and how its lists deviate.

use std::time::Duration;

use crate::domain::Timestamp;

/// An execution in the list. `version` grows with every change and is part of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) id: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) status: String,
    pub(super) version: u32,
    /// Whether voice mail answered; not part of the bytes.
    pub(super) voice_mail: bool,
    /// Its provider. Upstream lists a row without one under every provider.
    pub(super) provider: Option<&'static str>,
    /// From when on upstream lists it.
    pub(super) shown_at: Timestamp,
    /// Whether upstream writes `created_at` into it.
    pub(super) is_dated: bool,
}

/// The value of `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptTotals {
    Exact,
    Missing,
    OfEverything,
    Off(i64),
    /// A value that may be five seconds old.
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
    /// Dates are ignored.
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
    /// The maximum delay of a request and of its response, in addition to the latency; it makes responses
    /// arrive out of order.
    pub(super) jitter: Duration,
}
