//! The parsers of upstream's bytes, as functions that accept any bytes and assert what must hold for the
//! result.
//!
//! `fuzz/` calls them with generated inputs; a test replays the stored ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::mismatch::Expectation;
use super::{error_body, page, retry_after};
use crate::domain::{Credential, CredentialId};

/// The longest pause that a `Retry-After` may result in, in seconds.
const LONGEST_PAUSE: u64 = 300;

/// The longest message of upstream's that is repeated, in characters, including the ellipsis.
const LONGEST_WORDS: usize = 301;

/// Bodies of pages, agents, and relayed pages.
pub fn page(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let _ = page::parse_agent(&body, &Expectation::default());
    if let Ok(page) = page::parse(&body, Some(1)) {
        for row in page.rows {
            serde_json::from_slice::<IgnoredAny>(&row.bytes).expect("a row is JSON by itself");
            // Half of a surrogate pair is valid JSON but not text, also in a key.
            let Ok(fields) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&row.bytes) else {
                continue;
            };
            let literal = fields["id"].get();
            // An id that is not text is its literal.
            let id: String = serde_json::from_str(literal).unwrap_or_else(|_| literal.to_owned());
            assert_eq!(row.id, *id, "the last value of a duplicate key counts");
            let range = body.as_ptr_range();
            assert!(
                row.bytes.is_empty() || range.contains(&row.bytes.as_ptr()),
                "a row is upstream's own bytes"
            );
        }
    }
    if let Ok(relayed) = page::relay(body.clone(), &Expectation::default()) {
        assert_eq!(relayed.response.body, body);
        let json = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
        serde_json::from_slice::<IgnoredAny>(json).expect("a relayed body is JSON");
    }
}

/// A `Retry-After`, followed by a line break and a `Date`.
pub fn retry_after(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [RETRY_AFTER, DATE] {
        if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
            headers.insert(name, value);
        }
    }
    for now in [0, 1_795_000_000_000_000, i64::MAX, i64::MIN] {
        if let Some(pause) = retry_after::read(&headers, now) {
            assert!(!pause.is_zero() && pause.as_secs() <= LONGEST_PAUSE);
        }
    }
}

/// Bodies of error responses.
pub fn words(data: &[u8]) {
    const KEY: &str = "bn-key";
    let credential = Credential::new(CredentialId::new([0; 16]), SecretString::from(KEY));
    let words = error_body::find(StatusCode::BAD_REQUEST, data, &credential);
    assert!(!words.message.contains(KEY), "a key is never repeated");
    assert!(!words.message.contains(char::is_control), "a line");
    assert!(words.message.chars().count() <= LONGEST_WORDS);
}
