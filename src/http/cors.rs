use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::forward::Forwarding;

/// What a script in a browser may read of an answer, beyond the few that it always may.
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

/// What a script may send beyond the few that it always may.
const ALLOWED: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::IF_NONE_MATCH,
    header::ACCEPT,
    // Clients of upstream send it with every request, and wrappers of `fetch` the other, whether it means anything or not.
    header::CONTENT_TYPE,
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// How long a browser may remember a preflight; Chromium caps it at two hours.
const PREFLIGHT_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Lets the scripts of these origins ask; none if there are none. No cookie ever counts: a credential is a header.
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

/// What may be asked for by a script: what passes.
fn methods(forwarding: Forwarding) -> Vec<Method> {
    let mut methods = vec![Method::GET, Method::HEAD];
    if forwarding == Forwarding::All {
        methods.extend([Method::POST, Method::PUT, Method::PATCH, Method::DELETE]);
    }
    methods
}

/// Lets the scripts that may read a response see its timing too.
pub(super) fn allow_timing(headers: &mut HeaderMap) {
    if let Some(origin) = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned() {
        headers.insert(HeaderName::from_static("timing-allow-origin"), origin);
    }
}

/// Makes one line of the two that name what an answer varies by: some who read headers look only at the first.
pub(super) fn one_vary(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok()).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::try_from(lines.join(", "))
    {
        headers.insert(header::VARY, line);
    }
}
