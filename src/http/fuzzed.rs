//! The parsers of callers' and operators' bytes, as functions that accept any bytes and assert what must hold
//! for the result.
//!
//! `fuzz/` calls them with generated inputs; a test replays the stored ones.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::auth::Tokens;
use super::changes_params::ChangesParams;
use super::negotiate::{Codings, FOR_ROWS, MediaType};
use super::params::Params;
use super::prefer::{Prefer, directives};
use super::present::Etag;
use super::question::AllParams;
use crate::domain::Digest;
use crate::engine::Cursor;
use crate::telemetry::Trace;

/// The maximum length of a refusal's detail, in bytes.
const LONGEST_DETAIL: usize = 1024;

/// Query strings.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(params) = Params::read(Some(text)) {
        let canonical = params.canonical();
        let again = Params::read(Some(&canonical)).map(|params| params.canonical());
        assert_eq!(again.ok().as_deref(), Some(&*canonical), "a canonical query is its own canonical form");
    }
    match AllParams::parse(Some(text)) {
        Ok(AllParams { rows, .. }) => {
            assert!(rows.from.is_none() || rows.to.is_none() || rows.from <= rows.to);
        }
        Err(problem) => {
            assert!((1..=LONGEST_DETAIL).contains(&problem.detail.len()), "{}", problem.detail.len());
        }
    }
}

/// Cursors of `/changes`.
pub fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(cursor) = Cursor::parse(text) {
        assert_eq!(cursor.to_string(), text, "a cursor has one spelling");
        assert!(text.len() <= 128, "{}", text.len());
    }
    if let Err(problem) = ChangesParams::parse(Some(text)) {
        assert!((1..=LONGEST_DETAIL).contains(&problem.detail.len()), "{}", problem.detail.len());
    }
}

/// Header fields of a request, one per line; only the fields that the gateway reads.
pub fn headers(data: &[u8]) {
    const NAMES: [&str; 7] = [
        "cache-control",
        "prefer",
        "accept",
        "accept-encoding",
        "if-none-match",
        "traceparent",
        "tracestate",
    ];
    let mut headers = HeaderMap::new();
    for (name, line) in NAMES.iter().cycle().zip(data.split(|&byte| byte == b'\n').take(64)) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let longest = Duration::from_secs(50);
    let prefer = Prefer::read(&headers);
    assert!(prefer.wait_within(longest) <= longest);
    if let Some(applied) = prefer.applied(longest) {
        HeaderValue::try_from(applied).expect("an applied preference is a valid header value");
    }
    let _ = directives(&headers);
    let _ = MediaType::choose(&FOR_ROWS, None, &headers);
    let _ = Codings::choose(&headers);
    let _ = Etag::of(Digest(7), 7).is_known_to(&headers);
    let trace = Trace::read(&headers);
    for passed_on in [&trace.parent, &trace.state].into_iter().flatten() {
        HeaderValue::from_str(passed_on).expect("a forwarded value is a valid header value");
    }
    assert!(trace.state.is_none() || trace.parent.is_some(), "tracestate requires traceparent");
}

/// Tokens files.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.lines().count();
    match Tokens::parse(text) {
        Ok(tokens) => assert!(tokens.len() <= lines),
        Err(bad) => assert!(!bad.0.is_empty() && bad.0.iter().all(|bad| (1..=lines).contains(&bad.line))),
    }
}
