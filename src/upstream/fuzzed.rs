//! What of upstream's bytes is parsed, as functions that take any bytes and hold what comes out against what must be true.
//!
//! `fuzz/` calls them with whatever its fuzzer thinks of; a test replays the inputs that are kept there.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::mismatch::Expectation;
use super::{error_body, page, retry_after};
use crate::domain::{Credential, CredentialId};

/// The longest pause that may come of a `Retry-After`, in seconds.
const LONGEST_PAUSE: u64 = 300;

/// The longest words of a refusal that are passed on, in characters, with what says that there were more.
const LONGEST_WORDS: usize = 301;

/// Bodies: of a page, of an agent, and of one that is passed on.
pub fn page(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let _ = page::parse_agent(&body, &Expectation::default());
    if let Ok(page) = page::parse(&body, Some(1)) {
        for row in page.rows {
            let fields: BTreeMap<String, Box<RawValue>> =
                serde_json::from_slice(&row.bytes).expect("a row is an object by itself");
            let literal = fields["id"].get();
            // Half of a surrogate pair is JSON, though no text: such an id goes by its literal.
            let id: String = serde_json::from_str(literal).unwrap_or_else(|_| literal.to_owned());
            assert_eq!(row.id, *id, "of a doubled key the last counts");
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
        serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("what is passed on is JSON");
    }
}

/// A `Retry-After`, and after a line break a `Date`.
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

/// Bodies of refusals.
pub fn words(data: &[u8]) {
    const KEY: &str = "bn-key";
    let credential = Credential::new(CredentialId::new([0; 16]), SecretString::from(KEY));
    let words = error_body::find(StatusCode::BAD_REQUEST, data, &credential);
    assert!(!words.message.contains(KEY), "a key is never repeated");
    assert!(!words.message.contains(char::is_control), "a line");
    assert!(words.message.chars().count() <= LONGEST_WORDS);
}

#[cfg(test)]
mod tests {
    /// Gives every kept input of a target to it.
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            run(&std::fs::read(file).unwrap());
        }
    }

    #[test]
    fn what_is_kept_of_pages_holds() {
        replay("page", super::page);
    }

    #[test]
    fn what_is_kept_of_pauses_holds() {
        replay("retry_after", super::retry_after);
    }

    #[test]
    fn what_is_kept_of_refusals_holds() {
        replay("words", super::words);
    }
}
