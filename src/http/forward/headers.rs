//! Decides which headers are forwarded, in both directions.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::telemetry::Trace;

/// The gateway's entry in `Via`.
pub(super) const VIA: HeaderValue = HeaderValue::from_static("1.1 fanfold");

/// Headers of a single connection (RFC 9110 section 7.6.1), whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Request headers that are not for upstream.
const NOT_UP: [HeaderName; 7] = [
    header::HOST,
    header::EXPECT,
    header::COOKIE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// The headers sent upstream, including the credential as received.
pub(super) fn upwards(from: &HeaderMap, trace: &Trace, request_id: &str) -> HeaderMap {
    let mut headers = end_to_end(from);
    NOT_UP.iter().for_each(|name| drop(headers.remove(name)));
    add_own(&mut headers, trace, request_id);
    headers
}

/// The headers of a shared read: only the credential is a caller's.
pub(super) fn shared(authorization: HeaderValue, trace: &Trace) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::AUTHORIZATION, authorization);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let agent = concat!("fanfold/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    add_own(&mut headers, trace, "");
    headers
}

fn add_own(headers: &mut HeaderMap, trace: &Trace, request_id: &str) {
    headers.append(header::VIA, VIA);
    let own = [
        ("traceparent", trace.parent.as_deref()),
        ("tracestate", trace.state.as_deref()),
        ("x-request-id", Some(request_id).filter(|id| !id.is_empty())),
    ];
    for (name, value) in own {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The response headers that are forwarded. Upstream must not set cookies or permissions for scripts here.
pub(super) fn downwards(from: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(from);
    headers.remove(header::SET_COOKIE);
    let permissions: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    permissions.iter().for_each(|name| drop(headers.remove(name)));
    headers.append(header::VIA, VIA);
    headers
}

/// Whether a request has already passed this gateway, or another of its name.
pub(super) fn is_looped(headers: &HeaderMap) -> bool {
    let vias = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    vias.flat_map(|value| value.split(',')).any(|member| {
        member.split_whitespace().nth(1).is_some_and(|name| name.eq_ignore_ascii_case("fanfold"))
    })
}

/// All headers except those of a single connection.
fn end_to_end(from: &HeaderMap) -> HeaderMap {
    let mut headers = from.clone();
    for value in from.get_all(header::CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',') {
            // `Connection` must not remove the body's framing and the credential.
            match HeaderName::from_bytes(name.trim().as_bytes()) {
                Ok(name) if name != header::CONTENT_LENGTH && name != header::AUTHORIZATION => {
                    headers.remove(name);
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn forwards_the_callers_headers_except_those_of_the_connection() {
        let from = map(&[
            ("authorization", "Bearer bn-1"),
            ("connection", "keep-alive, x-hop, authorization, content-length"),
            ("content-length", "3"),
            ("cookie", "a=b"),
            ("expect", "100-continue"),
            ("host", "here"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-custom", "1"),
            ("x-hop", "1"),
        ]);
        let up = upwards(&from, &Trace::default(), "id");
        assert_eq!(names(&up), ["authorization", "content-length", "via", "x-custom", "x-request-id"]);
    }

    #[test]
    fn a_response_keeps_repeated_headers_but_not_cookies_and_permissions() {
        let from = map(&[
            ("link", "<a>"),
            ("link", "<b>"),
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "1"),
            ("content-encoding", "br"),
            ("keep-alive", "timeout=5"),
        ]);
        let down = downwards(&from);
        assert_eq!(names(&down), ["content-encoding", "link", "via"]);
        assert_eq!(down.get_all("link").iter().count(), 2);
    }

    #[test]
    fn detects_a_loop_in_via() {
        assert!(is_looped(&map(&[("via", "1.0 squid, 1.1 Fanfold (x)")])));
        assert!(!is_looped(&map(&[("via", "1.1 nginx"), ("via", "1.1 not-fanfold")])));
    }
}
