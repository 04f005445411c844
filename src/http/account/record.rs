use std::sync::Arc;
use std::time::Duration;

use crate::engine::CacheReport;
use crate::http::problem::Code;

/// An answer that is over.
#[derive(Clone, Debug)]
pub struct AnswerRecord {
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
    /// How the rows were come by, if the engine was asked and came to its end.
    pub report: Option<CacheReport>,
    /// The problem that was answered, or that broke the body.
    pub code: Option<Code>,
    /// What became of the body.
    pub ending: Ending,
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Sent to its end.
    Whole,
    /// Broken off: what was still to come could not be had.
    Broken,
    /// Left behind: the client went away, or took nothing for too long.
    Left,
}

impl Ending {
    /// The word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}
