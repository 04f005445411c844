//! Problem documents (RFC 9457): the body of every error response.
//!
//! Code that refuses a request returns a [`Problem`]. The outermost layer ([`super::access_log`]), which
//! knows the request's id, renders it once. A handler therefore refuses a request with `?` alone.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::source::UpstreamWords;

pub use code::Code;

mod code;
mod table;

pub(super) use table::{ErrorRenderer, ErrorStyle, KeyOwner};

/// Why a request was refused or has failed.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The kind of problem, for programs.
    pub code: Code,
    /// Usually the code's own status; upstream's status on upstream's own paths.
    pub status: StatusCode,
    /// What is wrong with this request, for a person.
    pub detail: String,
    /// Upstream's status and message, if it responded.
    pub upstream: Option<UpstreamWords>,
    /// When a retry may help. `Retry-After` carries it in whole seconds, at least one.
    pub retry_after: Option<Duration>,
    /// How many pages were read.
    pub progress: Option<Progress>,
    /// Logged instead of a detail that repeats the caller's text, which may be a key or a phone number.
    pub reason: Option<&'static str>,
}

/// How many pages were read before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Pages read.
    pub pages_read: u64,
    /// Pages known to be needed.
    pub pages_planned: u64,
}

impl Problem {
    /// Creates a problem with the usual status and `Retry-After` of its code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            upstream: None,
            retry_after: code.usual_wait(),
            progress: None,
            reason: None,
        }
    }

    /// What is wrong, for the log. Contains no text of a caller or of upstream.
    pub(super) fn reason(&self) -> String {
        match (self.reason, &self.upstream) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(_)) => self.code.title().to_owned(),
            (None, None) => self.detail.clone(),
        }
    }

    /// The problem document.
    pub fn document(&self, request_id: &str) -> impl Serialize + use<> {
        Document {
            kind: format!("urn:fanfold:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str(),
            request_id: request_id.to_owned(),
            message: self.detail.clone(),
            upstream: self
                .upstream
                .as_ref()
                .map(|words| UpstreamMember { status: words.status, message: words.message.clone() }),
            progress: self.progress,
        }
    }

    /// Writes the document into a response that already has the problem's status.
    pub(super) fn write(&self, request_id: &str, headers: &mut HeaderMap) -> Bytes {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Numbers and text only: serialization can't fail.
        serde_json::to_vec(&self.document(request_id)).unwrap_or_default().into()
    }
}

/// Rounds the wait up, because a client that returns a moment early would be refused again.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Attaches the problem to the response, for the outermost layer to render.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[derive(Serialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    request_id: String,
    /// The detail again, under the name that some of upstream's clients read.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamMember>,
    #[serde(flatten)]
    progress: Option<Progress>,
}

#[derive(Serialize)]
struct UpstreamMember {
    status: u16,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(problem: &Problem) -> (HeaderMap, serde_json::Value) {
        let mut headers = HeaderMap::new();
        let body = problem.write("r-1", &mut headers);
        (headers, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn writes_the_detail_as_detail_and_as_message() {
        let (headers, body) = written(&Problem::new(Code::Forbidden, "not this agent"));
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(body["detail"], "not this agent");
        assert_eq!(body["message"], "not this agent");
        assert_eq!(body["code"], "forbidden");
        assert_eq!(body["request_id"], "r-1");
        assert!(body.get("upstream").is_none() && body.get("pages_read").is_none());
    }

    #[test]
    fn retry_after_is_rounded_up_to_at_least_one_second() {
        for (wait, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (61_500, "62")] {
            let mut problem = Problem::new(Code::RateLimited, "");
            problem.retry_after = Some(Duration::from_millis(wait));
            assert_eq!(written(&problem).0[header::RETRY_AFTER], expected);
        }
    }

    #[test]
    fn progress_is_part_of_the_document() {
        let mut problem = Problem::new(Code::NotReady, "");
        problem.progress = Some(Progress { pages_read: 3, pages_planned: 9 });
        let (_, body) = written(&problem);
        assert_eq!((body["pages_read"].as_u64(), body["pages_planned"].as_u64()), (Some(3), Some(9)));
    }
}
