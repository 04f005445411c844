//! Failures of a scripted upstream.

use crate::source::{SourceError, UpstreamWords};

pub(super) fn words(status: u16) -> UpstreamWords {
    UpstreamWords { status, message: "no".to_owned() }
}

pub(super) fn unavailable() -> SourceError {
    SourceError::Unavailable { detail: "scripted".to_owned(), retry_after: None, upstream: None }
}
