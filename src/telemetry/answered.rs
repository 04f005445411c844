use std::sync::Arc;
use std::time::Duration;

/// A finished response, as reported in logs, metrics and traces.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The path's template; `other` if none matched.
    pub route: Arc<str>,
    /// The status that was sent, however the body ended.
    pub status: u16,
    /// `json`, `ndjson` or `csv` for executions, `other` for everything else.
    pub format: &'static str,
    /// From the request to the last byte.
    pub duration: Duration,
    /// From the request to the first row, if one was sent.
    pub first_row: Option<Duration>,
    /// Rows in the body.
    pub rows: u64,
    /// Bytes of the body, as encoded.
    pub bytes: u64,
    /// The rows by origin.
    pub rows_by: Rows,
    /// Requests upstream that were made for it.
    pub upstream_requests: u64,
    /// Parts that a lenient response left out.
    pub missing_parts: u64,
    /// How the body ended.
    pub ending: BodyEnding,
    /// The code of the problem that was returned, or that broke the body.
    pub code: Option<&'static str>,
}

/// Rows by origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// Known and fresh.
    pub hit: u64,
    /// Read for this response.
    pub miss: u64,
    /// From a read that another response had started.
    pub joined: u64,
    /// Served past their freshness.
    pub stale: u64,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnding {
    /// Sent completely.
    Whole,
    /// Broken off, because the rest could not be read.
    Broken,
    /// Abandoned: the client went away or stopped reading.
    Left,
}

impl BodyEnding {
    /// Its name in logs, metrics and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

impl Answered {
    /// Why the response lacks rows; `None` if it is complete.
    pub(super) const fn incomplete(&self) -> Option<&'static str> {
        match self.ending {
            BodyEnding::Broken => Some("broken"),
            BodyEnding::Whole | BodyEnding::Left if self.missing_parts > 0 => Some("lenient"),
            BodyEnding::Whole | BodyEnding::Left => None,
        }
    }
}
