use std::time::Duration;

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problems. A code never changes its meaning; openapi.yaml lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that programs compare.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that goes with it, unless upstream's own is kept.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What it means, for a person; the same for every problem of the kind.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A parameter or header is not valid.
    InvalidRequest = "invalid_request", BAD_REQUEST, "The request is not valid";
    /// No credential, or an unknown one.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A credential is needed";
    /// Upstream refuses the key.
    UpstreamDenied = "upstream_denied", FORBIDDEN, "Upstream refuses the key";
    /// The caller's token does not reach the agent.
    Forbidden = "forbidden", FORBIDDEN, "The gateway does not allow this";
    /// Upstream has no such agent, or not for this key.
    AgentNotFound = "agent_not_found", NOT_FOUND, "Upstream has no such agent for this key";
    /// Upstream has no such execution, or not for this key.
    ExecutionNotFound = "execution_not_found", NOT_FOUND, "Upstream has no such execution for this key";
    /// Upstream has no such batch, or not for this key.
    BatchNotFound = "batch_not_found", NOT_FOUND, "Upstream has no such batch for this key";
    /// No such path.
    NotFound = "not_found", NOT_FOUND, "No such path";
    /// The path supports other methods only.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not support this method";
    /// The request accepts none of the response's formats.
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "The response has no format that the request accepts";
    /// What changed since a cursor is not known any more.
    CursorGone = "cursor_gone", GONE, "What changed since the cursor is not known any more";
    /// The response exceeds the limit for responses that are sent in one piece.
    AnswerTooLarge = "answer_too_large", UNPROCESSABLE_ENTITY, "The response is too large to send in one piece";
    /// The budget or upstream's limit has no room before the deadline.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "The rate limit is exhausted";
    /// The most requests allowed at once are in progress.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests are in progress";
    /// A bug: the handler panicked.
    Internal = "internal_error", INTERNAL_SERVER_ERROR, "Internal error";
    /// The gateway is stopping.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The gateway is stopping";
    /// Upstream is down, unreachable, or answers 5xx.
    UpstreamUnavailable = "upstream_unavailable", BAD_GATEWAY, "Upstream is unavailable";
    /// Upstream's response violates its contract.
    UpstreamMalformed = "upstream_malformed", BAD_GATEWAY, "Upstream's response can't be parsed";
    /// Upstream's list can't be proven complete.
    UpstreamInconsistent = "upstream_inconsistent", BAD_GATEWAY, "Upstream's list can't be proven complete";
    /// Upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT, "Upstream did not answer in time";
    /// The deadline passed while pages were still arriving.
    NotReady = "not_ready", GATEWAY_TIMEOUT, "The response is not complete yet";
    /// `only-if-cached`, and not everything is cached.
    NotCached = "not_cached", GATEWAY_TIMEOUT, "Not everything is cached";
}

impl Code {
    /// How long to wait where nothing better is known; none where asking again changes nothing.
    pub(super) const fn usual_wait(self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::RateLimited | Self::NotReady => Some(Duration::from_secs(1)),
            // Another replica answers, or the next process does.
            Self::ShuttingDown => Some(Duration::from_secs(2)),
            Self::UpstreamUnavailable | Self::UpstreamMalformed | Self::UpstreamTimeout | Self::Internal => {
                Some(Duration::from_secs(5))
            }
            // A contradiction is remembered for a minute, and not looked at again before.
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
