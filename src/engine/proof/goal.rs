use std::time::Duration;

use crate::domain::Span;
use crate::engine::terms::AskedAt;

/// Whether upstream is asked with dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum DateSupport {
    /// As its contract says.
    Kept,
    /// It takes none and answers with everything (`--window none`).
    Ignored,
}

impl DateSupport {
    /// Whether upstream keeps to dates, by the widest span that it is asked for.
    pub(in crate::engine) const fn of_window(window: Option<Duration>) -> Self {
        if window.is_some() { Self::Kept } else { Self::Ignored }
    }
}

/// Where a walk may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WalkEnd {
    /// Where the list ends.
    AtItsEnd,
    /// Where the list, which is known to be newest first, has passed the region.
    BelowRegion,
}

/// How much of a walk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Extent {
    /// What lies above the oldest instant of the accepted pages.
    Prefix,
    /// All of it: the walk is whole.
    Whole,
}

/// What a walk is to find out.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct WalkGoal {
    /// All of it is to be learned.
    pub(in crate::engine) region: Span,
    pub(in crate::engine) dates: DateSupport,
    pub(in crate::engine) ending: WalkEnd,
    /// When the first page was asked for.
    pub(in crate::engine) asked_at: AskedAt,
}
