use std::time::Duration;

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problems, listed in openapi.yaml. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as programs compare it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status, unless upstream's own is kept.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The title: what the code means, for a person.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The request is not valid.
    InvalidRequest = "invalid_request", BAD_REQUEST, "The request is not valid";
    /// No credential, or an unknown one.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid credential is required";
    /// Upstream refused the key.
    UpstreamDenied = "upstream_denied", FORBIDDEN, "Upstream refused the key";
    /// The gateway's settings or the caller's token do not allow the request.
    Forbidden = "forbidden", FORBIDDEN, "The request is not allowed";
    /// Upstream has no such agent, or this key can't see it.
    AgentNotFound = "agent_not_found", NOT_FOUND, "Agent not found";
    /// Upstream has no such execution, or this key can't see it.
    ExecutionNotFound = "execution_not_found", NOT_FOUND, "Execution not found";
    /// Upstream has no such batch, or this key can't see it.
    BatchNotFound = "batch_not_found", NOT_FOUND, "Batch not found";
    /// The path does not exist.
    NotFound = "not_found", NOT_FOUND, "Path not found";
    /// The path does not support the method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// The request accepts none of the formats of the response.
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "No acceptable response format";
    /// The changes since a cursor are no longer known.
    CursorGone = "cursor_gone", GONE, "The cursor is no longer valid";
    /// The response exceeds the limit for collected responses.
    AnswerTooLarge = "answer_too_large", UNPROCESSABLE_ENTITY, "The response is too large";
    /// The budget or upstream's limit leaves no room in time, or the caller's share is used up.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// The maximum number of responses is in progress.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The gateway is overloaded";
    /// A bug: the handler panicked.
    Internal = "internal_error", INTERNAL_SERVER_ERROR, "Internal error";
    /// The gateway is shutting down.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The gateway is shutting down";
    /// Data was dropped in this process, but the tier could not record the purge.
    TierUnavailable = "tier_unavailable", SERVICE_UNAVAILABLE, "The tier is unavailable";
    /// Upstream is down, unreachable, or responds with 5xx.
    UpstreamUnavailable = "upstream_unavailable", BAD_GATEWAY, "Upstream is unavailable";
    /// Upstream's response violates its contract.
    UpstreamMalformed = "upstream_malformed", BAD_GATEWAY, "Upstream sent an invalid response";
    /// Upstream's responses contradict each other, so the list can't be proven complete.
    UpstreamInconsistent = "upstream_inconsistent", BAD_GATEWAY, "Upstream's list can't be proven complete";
    /// Upstream did not respond in time.
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT, "Upstream timed out";
    /// The deadline passed while pages were still arriving.
    NotReady = "not_ready", GATEWAY_TIMEOUT, "The response is not ready yet";
    /// The request has `only-if-cached`, and part of the response is not cached.
    NotCached = "not_cached", GATEWAY_TIMEOUT, "The response is not cached";
}

impl Code {
    /// The default `Retry-After`; `None` if a retry would not help.
    pub(super) const fn usual_wait(self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::RateLimited | Self::NotReady => Some(Duration::from_secs(1)),
            // Another replica or the next process serves the retry.
            Self::ShuttingDown | Self::TierUnavailable => Some(Duration::from_secs(2)),
            Self::UpstreamUnavailable | Self::UpstreamMalformed | Self::UpstreamTimeout | Self::Internal => {
                Some(Duration::from_secs(5))
            }
            // A contradiction is remembered for a minute; until then a retry gets the same response.
            Self::UpstreamInconsistent => Some(Duration::from_secs(60)),
            Self::InvalidRequest
            | Self::Unauthenticated
            | Self::UpstreamDenied
            | Self::Forbidden
            | Self::AgentNotFound
            | Self::ExecutionNotFound
            | Self::BatchNotFound
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::CursorGone
            | Self::AnswerTooLarge
            | Self::NotCached => None,
        }
    }
}
