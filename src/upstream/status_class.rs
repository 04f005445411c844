use http::StatusCode;

/// The meaning of a status from upstream. What the gate, retries, metrics and callers make of it is decided
/// where it is used, with a `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusClass {
    /// 2xx.
    Success,
    /// 3xx; redirects are not followed.
    Redirect,
    /// 401 or 403: the credential is refused.
    Denied,
    /// 404.
    NotFound,
    /// 429.
    Limited,
    /// 408: a hop on the way stopped waiting.
    HopTimedOut,
    /// 407: a proxy on the way wants a password.
    ProxyDenied,
    /// Any other 4xx: the request is refused.
    Refused,
    /// 5xx.
    Failed,
    /// A status that HTTP does not define.
    Undefined,
}

impl StatusClass {
    pub(super) const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            407 => Self::ProxyDenied,
            408 => Self::HopTimedOut,
            429 => Self::Limited,
            400..=499 => Self::Refused,
            500..=599 => Self::Failed,
            _ => Self::Undefined,
        }
    }
}
