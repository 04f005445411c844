use std::time::Duration;

use crate::domain::{Page, Span};
use crate::engine::terms::AskedAt;

/// How far outside the dates a row may be: a comparison in whole seconds reaches one second beyond. Such a
/// row belongs to the neighboring span.
const DATE_SLACK: Duration = Duration::from_secs(1);

/// Whether upstream supports dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum DateSupport {
    /// It does, as its contract says.
    Kept,
    /// It ignores them and returns everything (`--window none`).
    Ignored,
}

impl DateSupport {
    /// Whether upstream supports dates, by the widest span that is requested from it.
    pub(in crate::engine) const fn of_window(window: Option<Duration>) -> Self {
        if window.is_some() { Self::Kept } else { Self::Ignored }
    }

    /// Whether a page has a row from outside the requested dates although upstream supports dates.
    pub(in crate::engine) fn is_contradicted_by(self, page: &Page, asked: Span) -> bool {
        let (from, to) = (asked.from().minus(DATE_SLACK), asked.to().plus(DATE_SLACK));
        let mut instants = page.rows.iter().filter_map(|row| row.created_at);
        self == Self::Kept && instants.any(|at| at < from || at > to)
    }
}

/// Where a walk may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WalkEnd {
    /// At the end of the list.
    AtItsEnd,
    /// Below the region, in a list that is known to be newest first.
    BelowRegion,
}

/// How much of a walk is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Extent {
    /// The part above the oldest instant of the accepted pages.
    Prefix,
    /// All of it: the walk is complete.
    Whole,
}

/// What a walk has to find out.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct WalkGoal {
    /// The span to be read completely.
    pub(in crate::engine) region: Span,
    pub(in crate::engine) dates: DateSupport,
    pub(in crate::engine) ending: WalkEnd,
    /// When the first page was requested.
    pub(in crate::engine) asked_at: AskedAt,
}
