use http::StatusCode;

use super::{Code, Problem, Progress};
use crate::engine::{AskError, Awaited, MemoryLimit};
use crate::source::{SourceError, UpstreamWords};

/// Turns errors into problem documents. The same error has a different status on another path or with another
/// key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorRenderer {
    /// Whose path was requested.
    pub(crate) style: ErrorStyle,
    /// Whose key was sent upstream.
    pub(crate) key: KeyOwner,
}

/// Whose conventions a path follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorStyle {
    /// The gateway's: each code has one status.
    Own,
    /// Upstream's: errors keep upstream's status, as its clients expect.
    Upstreams,
}

/// Whose key was sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOwner {
    /// The caller's: if upstream refuses it, the caller must act.
    Callers,
    /// The gateway's: if upstream refuses it, the gateway is at fault.
    Held,
}

impl ErrorRenderer {
    /// The problem document for an error.
    pub(crate) fn problem(self, error: &AskError) -> Problem {
        match error {
            AskError::Source(error) => self.source_problem(error),
            AskError::NoHistoryStart => Problem::new(
                Code::InvalidRequest,
                "`from` is required, because the start of this agent's history is unknown; accepted: RFC 3339, such as \
                 2026-01-28T13:17:50Z",
            ),
            AskError::Inconsistent { .. } => Problem::new(Code::UpstreamInconsistent, error.to_string()),
            AskError::NotReady { pages_read, pages_planned, retry_after, awaited } => Problem {
                retry_after: Some(*retry_after),
                progress: Some(Progress { pages_read: *pages_read, pages_planned: *pages_planned }),
                ..Problem::new(
                    match (self.style, awaited) {
                        // Upstream's clients know how to handle its 429.
                        (ErrorStyle::Upstreams, Awaited::Budget) => Code::RateLimited,
                        (ErrorStyle::Upstreams, Awaited::Pages) | (ErrorStyle::Own, _) => Code::NotReady,
                    },
                    format!("{error}; a retry continues from there"),
                )
            },
            AskError::TooLarge { .. } => Problem::new(Code::AnswerTooLarge, format!("{error}: {ADVICE}")),
            AskError::NoMemory(limit) => memory_problem(*limit),
            AskError::NotCached => Problem::new(
                Code::NotCached,
                "part of the response is not cached, and `only-if-cached` forbids requests to upstream",
            ),
            AskError::ShuttingDown => Problem::new(Code::ShuttingDown, error.to_string()),
        }
    }

    fn source_problem(self, error: &SourceError) -> Problem {
        match error {
            SourceError::Denied(words) => match self.key {
                KeyOwner::Callers => spoken(Code::UpstreamDenied, error, words, StatusSource::Upstreams),
                KeyOwner::Held => Problem {
                    status: StatusCode::BAD_GATEWAY,
                    ..spoken(Code::UpstreamDenied, error, words, StatusSource::Codes)
                },
            },
            SourceError::AgentNotFound(words) => spoken(Code::AgentNotFound, error, words, self.status()),
            SourceError::Refused(words) => spoken(Code::InvalidRequest, error, words, self.status()),
            SourceError::RateLimited { retry_after, upstream } => Problem {
                retry_after: Some(*retry_after),
                // Also if the last attempt before the budget ran out got another status.
                ..maybe_spoken(Code::RateLimited, error, upstream.as_ref(), StatusSource::Codes)
            },
            SourceError::Unavailable { detail: _, retry_after, upstream } => {
                let usual = Code::UpstreamUnavailable.usual_wait();
                Problem {
                    retry_after: retry_after.or(usual),
                    ..maybe_spoken(Code::UpstreamUnavailable, error, upstream.as_ref(), self.status())
                }
            }
            SourceError::TimedOut => Problem::new(Code::UpstreamTimeout, error.to_string()),
            SourceError::Malformed { .. } => Problem::new(Code::UpstreamMalformed, error.to_string()),
        }
    }

    const fn status(self) -> StatusSource {
        match self.style {
            ErrorStyle::Own => StatusSource::Codes,
            ErrorStyle::Upstreams => StatusSource::Upstreams,
        }
    }
}

/// What helps if a collected response is too large.
const ADVICE: &str = "use NDJSON (`format=ndjson`), or narrow `from` and `to`";

fn memory_problem(limit: MemoryLimit) -> Problem {
    match limit {
        MemoryLimit::AllTaken(most) => Problem::new(
            Code::Overloaded,
            format!("collected responses in progress hold {most} bytes of memory, which is the limit"),
        ),
        MemoryLimit::ShareTaken(share) => Problem::new(
            Code::RateLimited,
            format!(
                "this caller's collected responses in progress hold {share} bytes of memory, which is its share"
            ),
        ),
        MemoryLimit::TooLarge(most) => Problem::new(
            Code::AnswerTooLarge,
            format!("the response needs more than {most} bytes of memory: {ADVICE}"),
        ),
    }
}

/// Where the status of a problem comes from.
#[derive(Clone, Copy)]
enum StatusSource {
    Codes,
    Upstreams,
}

fn maybe_spoken(
    code: Code,
    error: &SourceError,
    words: Option<&UpstreamWords>,
    status: StatusSource,
) -> Problem {
    match words {
        Some(words) => spoken(code, error, words, status),
        None => Problem::new(code, error.to_string()),
    }
}

fn spoken(code: Code, error: &SourceError, words: &UpstreamWords, status: StatusSource) -> Problem {
    let upstreams = StatusCode::from_u16(words.status).ok().filter(|s| s.as_u16() >= 400);
    let status = match status {
        StatusSource::Codes => code.status(),
        StatusSource::Upstreams => upstreams.unwrap_or(code.status()),
    };
    Problem { status, upstream: Some(words.clone()), ..Problem::new(code, error.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OWN: ErrorRenderer = ErrorRenderer { style: ErrorStyle::Own, key: KeyOwner::Callers };
    const UPSTREAMS: ErrorRenderer = ErrorRenderer { style: ErrorStyle::Upstreams, key: KeyOwner::Callers };
    const HELD: ErrorRenderer = ErrorRenderer { style: ErrorStyle::Upstreams, key: KeyOwner::Held };

    fn words(status: u16) -> UpstreamWords {
        UpstreamWords { status, message: "no".into() }
    }

    fn status(renderer: ErrorRenderer, error: SourceError) -> u16 {
        renderer.problem(&AskError::Source(error)).status.as_u16()
    }

    #[test]
    fn keeps_upstreams_status_of_a_refused_key_unless_the_gateway_holds_it() {
        for refused in [401, 403] {
            assert_eq!(status(OWN, SourceError::Denied(words(refused))), refused);
            assert_eq!(status(UPSTREAMS, SourceError::Denied(words(refused))), refused);
            assert_eq!(status(HELD, SourceError::Denied(words(refused))), 502);
        }
    }

    #[test]
    fn upstreams_paths_keep_upstreams_status_and_own_paths_do_not() {
        assert_eq!(status(OWN, SourceError::Refused(words(422))), 400);
        assert_eq!(status(UPSTREAMS, SourceError::Refused(words(422))), 422);
        let down = SourceError::Unavailable {
            detail: "HTTP 500".into(),
            retry_after: None,
            upstream: Some(words(500)),
        };
        assert_eq!(status(OWN, down.clone()), 502);
        assert_eq!(status(UPSTREAMS, down), 500);
        assert_eq!(status(UPSTREAMS, SourceError::Refused(words(200))), 400);
        let no_room =
            SourceError::RateLimited { retry_after: Duration::from_secs(9), upstream: Some(words(500)) };
        assert_eq!(status(UPSTREAMS, no_room), 429, "a retry after 429 helps, after 500 it is a guess");
    }

    #[test]
    fn a_known_wait_overrides_the_default() {
        let wait = |retry_after| {
            let error = SourceError::Unavailable { detail: String::new(), retry_after, upstream: None };
            OWN.problem(&error.into()).retry_after
        };
        assert_eq!(wait(Some(Duration::from_secs(40))), Some(Duration::from_secs(40)));
        assert_eq!(wait(None), Some(Duration::from_secs(5)));
    }

    #[test]
    fn not_ready_reports_the_progress() {
        let not_ready = |awaited| AskError::NotReady {
            pages_read: 2,
            pages_planned: 7,
            retry_after: Duration::from_secs(9),
            awaited,
        };
        let problem = OWN.problem(&not_ready(Awaited::Budget));
        assert_eq!(problem.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(problem.progress, Some(Progress { pages_read: 2, pages_planned: 7 }));
        assert_eq!(problem.retry_after, Some(Duration::from_secs(9)));
        assert_eq!(UPSTREAMS.problem(&not_ready(Awaited::Budget)).status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(UPSTREAMS.problem(&not_ready(Awaited::Pages)).status, StatusCode::GATEWAY_TIMEOUT);
    }
}
