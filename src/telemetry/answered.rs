use std::sync::Arc;
use std::time::Duration;

/// An answer that is over, as logs, metrics and traces tell of it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The path's template; `other` where no path matched.
    pub route: Arc<str>,
    /// The status that was sent, whatever became of the body.
    pub status: u16,
    /// `json` or `ndjson` of an answer, `other` of anything else.
    pub format: &'static str,
    /// From the request to the last byte.
    pub duration: Duration,
    /// From the request to the first row, if one was sent.
    pub first_row: Option<Duration>,
    /// Rows in the body.
    pub rows: u64,
    /// Bytes of the body, as coded.
    pub bytes: u64,
    /// How the rows were come by.
    pub rows_by: Rows,
    /// Requests upstream that were made for it.
    pub upstream_requests: u64,
    /// Parts that a lenient answer left out.
    pub missing_parts: u64,
    /// What became of the body.
    pub ending: BodyEnding,
    /// The problem that was answered, or that broke the body.
    pub code: Option<&'static str>,
}

/// How rows were come by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// Known and fresh.
    pub hit: u64,
    /// Read for this answer.
    pub miss: u64,
    /// From a read that somebody else began.
    pub joined: u64,
    /// Given past their freshness.
    pub stale: u64,
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnding {
    /// Sent to its end.
    Whole,
    /// Broken off: what was still to come could not be had.
    Broken,
    /// Left behind: the client went away, or took nothing for too long.
    Left,
}

impl BodyEnding {
    /// The word for it, in logs, metrics and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

impl Answered {
    /// Why the answer is less than what was asked for; none if it is not.
    pub(super) const fn incomplete(&self) -> Option<&'static str> {
        match self.ending {
            BodyEnding::Broken => Some("broken"),
            BodyEnding::Whole | BodyEnding::Left if self.missing_parts > 0 => Some("lenient"),
            BodyEnding::Whole | BodyEnding::Left => None,
        }
    }
}
