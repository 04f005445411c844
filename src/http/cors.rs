use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::forward::Forwarding;

/// Response headers that scripts may read, beyond those that CORS always allows.
pub(super) const EXPOSED: [&str; 14] = [
    "age",
    "cache-status",
    "content-disposition",
    "content-encoding",
    "content-length",
    "date",
    "etag",
    "preference-applied",
    "retry-after",
    "server-timing",
    "vary",
    "www-authenticate",
    "x-request-id",
    "x-total-count",
];

/// Request headers that scripts may send, beyond those that CORS always allows.
const ALLOWED: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::IF_NONE_MATCH,
    header::ACCEPT,
    // Clients of upstream send `Content-Type` with every request, and wrappers of `fetch` send
    // `X-Requested-With`, even where they have no meaning.
    header::CONTENT_TYPE,
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// How long browsers may cache a preflight; Chromium caps it at two hours.
const PREFLIGHT_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The CORS layer for these origins; `None` without origins. Cookies never count, because the credential is a
/// header.
pub(super) fn layer(origins: &[HeaderValue], forwarding: Forwarding) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().cloned())
    };
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(methods(forwarding))
            .allow_headers(ALLOWED)
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            .max_age(PREFLIGHT_AGE)
            .vary([header::ORIGIN]),
    )
}

/// The methods that scripts may use: those that are forwarded.
fn methods(forwarding: Forwarding) -> Vec<Method> {
    let mut methods = vec![Method::GET, Method::HEAD];
    if forwarding == Forwarding::All {
        methods.extend([Method::POST, Method::PUT, Method::PATCH, Method::DELETE]);
    }
    methods
}

/// Lets scripts that may read a response also read its timing.
pub(super) fn allow_timing(headers: &mut HeaderMap) {
    if let Some(origin) = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned() {
        headers.insert(HeaderName::from_static("timing-allow-origin"), origin);
    }
}

/// Joins the two `Vary` lines into one, because some readers look only at the first line of a header.
pub(super) fn one_vary(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok()).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::try_from(lines.join(", "))
    {
        headers.insert(header::VARY, line);
    }
}
