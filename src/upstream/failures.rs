use std::time::Duration;

use crate::source::{SourceError, UpstreamWords};

use super::gate::GateRefusal;
use super::retry::Cause;

/// When to retry after no connection became free.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why an attempt failed, and whether to make another.
#[derive(Debug)]
pub(super) struct AttemptFailure {
    pub(super) error: SourceError,
    pub(super) cause: Cause,
}

/// The failure for a refusal of the gate.
pub(super) fn rejected(refusal: GateRefusal, last_fault: impl FnOnce() -> String) -> AttemptFailure {
    match refusal {
        GateRefusal::NoRoom(retry_after) => AttemptFailure {
            error: SourceError::RateLimited { retry_after, upstream: None },
            cause: Cause::Final,
        },
        GateRefusal::Busy => AttemptFailure {
            error: SourceError::Unavailable {
                detail: "no connection to it became free in time".to_owned(),
                retry_after: Some(BUSY_RETRY_AFTER),
                upstream: None,
            },
            cause: Cause::Final,
        },
        GateRefusal::Down(rest) => AttemptFailure {
            error: SourceError::Unavailable {
                detail: format!("it failed too often recently; the last failure: {}", last_fault()),
                retry_after: Some(rest),
                upstream: None,
            },
            cause: Cause::Down(rest),
        },
    }
}

/// Upstream's message in an error that may be followed by another attempt.
pub(super) fn words_of(error: SourceError) -> Option<UpstreamWords> {
    match error {
        SourceError::RateLimited { upstream, .. } | SourceError::Unavailable { upstream, .. } => upstream,
        SourceError::Denied(_)
        | SourceError::AgentNotFound(_)
        | SourceError::Refused(_)
        | SourceError::TimedOut
        | SourceError::Malformed { .. } => None,
    }
}

/// Adds upstream's earlier message to a refusal of the gate that it led to.
pub(super) fn with_words(mut error: SourceError, said: Option<UpstreamWords>) -> SourceError {
    if let SourceError::RateLimited { upstream, .. } | SourceError::Unavailable { upstream, .. } = &mut error
        && upstream.is_none()
    {
        *upstream = said;
    }
    error
}
