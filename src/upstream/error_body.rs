//! Upstream's refusals: the [`SourceError`] for a status, and the message in the body.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::status_class::StatusClass;
use crate::domain::Credential;
use crate::source::{SourceError, UpstreamWords};

/// The longest message of upstream's that is repeated, in characters: enough to act on, too little for a page
/// of HTML.
const LONGEST: usize = 300;

/// The pause suggested after a 429 without `Retry-After`. By then a count per minute has moved on.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The error for a response that is not a success.
pub(super) fn refusal(
    status: StatusCode,
    words: UpstreamWords,
    retry_after: Option<Duration>,
) -> SourceError {
    let unavailable = |detail: String, upstream| SourceError::Unavailable { detail, retry_after, upstream };
    match StatusClass::of(status) {
        StatusClass::Denied => SourceError::Denied(words),
        StatusClass::NotFound => SourceError::AgentNotFound(words),
        StatusClass::Limited => SourceError::RateLimited {
            retry_after: retry_after.unwrap_or(DEFAULT_RETRY_AFTER),
            upstream: Some(words),
        },
        StatusClass::Redirect => {
            unavailable(format!("it responded with {status}, and redirects are not followed"), None)
        }
        // A hop that timed out or wants a password says nothing about the request.
        StatusClass::ProxyDenied | StatusClass::HopTimedOut | StatusClass::Failed => {
            unavailable(format!("it responded with {status}"), Some(words))
        }
        StatusClass::Refused => SourceError::Refused(words),
        StatusClass::Success | StatusClass::Undefined => {
            unavailable(format!("it responded with the undefined status {status}"), None)
        }
    }
}

/// Finds upstream's message in the body of an error response. Removes the key if the message repeats it.
pub(super) fn find(status: StatusCode, body: &[u8], credential: &Credential) -> UpstreamWords {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(value) => from_json(&value),
        Err(_) => from_text(body),
    };
    let mut message = said
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
    let key = credential.expose_key();
    if !key.is_empty() {
        message = message.replace(key, "…");
    }
    UpstreamWords { status: status.as_u16(), message: shorten(&message) }
}

fn from_json(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => {
            ["message", "detail", "error"].iter().find_map(|key| said(fields.get(*key)?))
        }
        Value::String(text) => Some(text.clone()),
        Value::Array(_) => said(value),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A string, a number, an object with `msg` or `message`, or several of these.
fn said(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(fields) => said_of_field(fields)?,
        Value::Array(values) => values
            .iter()
            .filter_map(|v| match v {
                Value::String(text) => Some(text.clone()),
                Value::Object(fields) => said_of_field(fields),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
            })
            .collect::<Vec<_>>()
            .join("; "),
        Value::Null | Value::Bool(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// FastAPI's form: `{"loc":["query","from"],"msg":"Field required"}`; `loc` names the parameter.
fn said_of_field(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let text = ["msg", "message"].iter().find_map(|key| fields.get(*key)?.as_str())?;
    let place = fields.get("loc").and_then(Value::as_array);
    let place: Vec<_> = place.into_iter().flatten().filter_map(Value::as_str).collect();
    Some(if place.is_empty() { text.to_owned() } else { format!("{}: {text}", place.join(".")) })
}

/// A body that is not JSON: plain text is used, markup is not.
fn from_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let first = text.chars().next()?;
    (!matches!(first, '<' | '{' | '[')).then(|| text.to_owned())
}

/// One line of at most [`LONGEST`] characters.
fn shorten(text: &str) -> String {
    let line: String = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use crate::domain::CredentialId;

    use super::*;

    fn words(body: &str) -> String {
        let credential = Credential::new(CredentialId::new([0; 16]), SecretString::from("bn-secret"));
        find(StatusCode::BAD_REQUEST, body.as_bytes(), &credential).message
    }

    #[test]
    fn finds_the_message_wherever_upstream_puts_it() {
        for (body, message) in [
            (r#"{"message":"no"}"#, "no"),
            (r#"{"detail":"no"}"#, "no"),
            (r#"{"error":"no"}"#, "no"),
            (r#"{"error":429}"#, "429"),
            (r#"{"message":null,"detail":["a","b"]}"#, "a; b"),
            (
                r#"{"detail":[{"loc":["query","from"],"msg":"Field required"},{"msg":"x"}]}"#,
                "query.from: Field required; x",
            ),
            (r#"{"error":{"message":"deep"}}"#, "deep"),
            (r#""just a string""#, "just a string"),
            ("plain\n\twords", "plain words"),
        ] {
            assert_eq!(words(body), message, "{body}");
        }
    }

    #[test]
    fn falls_back_to_the_statuss_reason_phrase() {
        for body in
            ["", "<html>Bad</html>", "{\"broken", "{}", "null", r#"{"message":""}"#, r#"{"detail":[]}"#]
        {
            assert_eq!(words(body), "Bad Request", "{body}");
        }
    }

    #[test]
    fn never_repeats_the_key() {
        assert_eq!(words(r#"{"message":"key bn-secret is wrong"}"#), "key … is wrong");
    }

    #[test]
    fn the_table_covers_every_status() {
        let kind = |status: u16| {
            let words = UpstreamWords { status, message: String::new() };
            match refusal(StatusCode::from_u16(status).unwrap(), words, None) {
                SourceError::Denied(_) => "denied",
                SourceError::AgentNotFound(_) => "not found",
                SourceError::Refused(_) => "refused",
                SourceError::RateLimited { .. } => "limited",
                SourceError::Unavailable { .. } => "unavailable",
                SourceError::TimedOut => "timed out",
                SourceError::Malformed { .. } => "malformed",
            }
        };
        for (statuses, expected) in [
            (&[401, 403][..], "denied"),
            (&[404], "not found"),
            (&[429], "limited"),
            (&[301, 302, 304, 307, 407, 408, 500, 502, 503, 504, 599, 999], "unavailable"),
            (&[400, 402, 405, 409, 410, 413, 422, 451], "refused"),
        ] {
            for status in statuses {
                assert_eq!(kind(*status), expected, "{status}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_message_is_one_short_line(body in any::<String>()) {
            let said = words(&body);
            prop_assert!(!said.is_empty() && said.chars().count() <= LONGEST + 1);
            prop_assert!(!said.contains('\n'));
        }
    }
}
