//! Decides what a caller may see of a shared response.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::policy::{Mode, Route};
use super::shared::{NotRead, WholeResponse};
use crate::domain::{AgentId, FilterFacts, Rounding, Row, Status, Timestamp};
use crate::forward::ForwardError;
use crate::http::access_log::RequestLog;
use crate::http::auth::{Agents, AuthenticatedCaller};
use crate::http::fields;
use crate::http::present::set;
use crate::http::problem::{Code, Problem};
use crate::source::UpstreamWords;

/// The origin of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The cache.
    Kept,
    /// Upstream.
    Read,
}

/// The part of a response that a caller may see.
pub(super) struct VisibleResponse {
    whole: Arc<WholeResponse>,
    body: Bytes,
    is_part: bool,
}

/// Refuses what a token does not allow, before upstream is asked.
pub(super) fn may_reach(
    caller: &AuthenticatedCaller,
    mode: Mode,
    route: Route<'_>,
    request_log: &RequestLog,
) -> Result<(), Problem> {
    if let Route::Agent(agent) = route {
        request_log.note_agent(agent);
        caller.credential_for(agent)?;
    }
    let is_for_all = matches!(route, Route::Batch | Route::BatchExecutions | Route::User);
    if mode == Mode::Held && is_for_all && !matches!(caller.agents(), Agents::All) {
        return Err(Problem::new(
            Code::Forbidden,
            "the token is limited to some agents, and this path covers all of them",
        ));
    }
    Ok(())
}

/// The part of a response that the caller may see.
pub(super) fn reached(
    caller: &AuthenticatedCaller,
    mode: Mode,
    route: Route<'_>,
    whole: &Arc<WholeResponse>,
) -> Result<VisibleResponse, Problem> {
    let given = |body, is_part| VisibleResponse { whole: Arc::clone(whole), body, is_part };
    if mode == Mode::PassThrough {
        return Ok(given(whole.body.clone(), false));
    }
    if whole.status != StatusCode::OK {
        return Err(refused(route, whole.status));
    }
    let agents = match caller.agents() {
        Agents::All => return Ok(given(whole.body.clone(), false)),
        agents @ Agents::Some(_) => agents,
    };
    match route {
        Route::Agents => only(agents, &whole.body).map(|body| given(body, true)).ok_or_else(malformed),
        Route::Execution(_) => match agent_of(&whole.body) {
            Some(agent) if agents.include(agent) => Ok(given(whole.body.clone(), false)),
            Some(_) | None => {
                Err(Problem::new(Code::Forbidden, "the token does not allow the agent of this execution"))
            }
        },
        // The agent was already checked.
        Route::Agent(_) => Ok(given(whole.body.clone(), false)),
        Route::Batch | Route::BatchExecutions | Route::User | Route::Call | Route::Other => {
            Err(Problem::new(Code::Forbidden, "the token does not allow this path"))
        }
    }
}

/// The array of agents reduced to the allowed ones, each byte for byte. Elements that can't be parsed are
/// left out.
fn only(agents: &Agents, body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let all: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let mut some = vec![b'['];
    for object in all {
        let agent = serde_json::from_str::<Identified<'_>>(object.get()).ok();
        if agent.and_then(|agent| agent.id.parse().ok()).is_some_and(|agent: AgentId| agents.include(agent)) {
            if some.len() > 1 {
                some.push(b',');
            }
            some.extend_from_slice(object.get().as_bytes());
        }
    }
    some.push(b']');
    Some(some.into())
}

/// The agent that an execution names; `None` if it names none or several.
fn agent_of(body: &[u8]) -> Option<AgentId> {
    #[derive(Deserialize)]
    struct Owned<'a> {
        #[serde(borrow)]
        agent_id: Cow<'a, str>,
    }
    serde_json::from_slice::<Owned<'_>>(body).ok()?.agent_id.parse().ok()
}

/// An execution as a row, with the values that its freshness depends on.
pub(super) fn row(body: &[u8]) -> Option<Row> {
    #[derive(Deserialize)]
    struct Execution<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        status: Option<Cow<'a, str>>,
        #[serde(borrow)]
        created_at: Option<Cow<'a, str>>,
        #[serde(borrow)]
        updated_at: Option<Cow<'a, str>>,
    }
    let execution: Execution<'_> = serde_json::from_slice(body).ok()?;
    let instant = |text: Option<Cow<'_, str>>| Timestamp::parse(&text?, Rounding::Down);
    Some(Row {
        id: (*execution.id).into(),
        created_at: instant(execution.created_at),
        updated_at: instant(execution.updated_at),
        facts: FilterFacts::default(),
        status: execution.status.map(|status| Status::new(&status)),
        bytes: Bytes::new(),
    })
}

/// The problem that a token's holder gets when upstream refuses a request with the held key.
pub(super) fn refused(route: Route<'_>, status: StatusCode) -> Problem {
    let code = match (status.as_u16(), route) {
        (401 | 403, _) => Code::UpstreamDenied,
        (404, Route::Agents | Route::Agent(_)) => Code::AgentNotFound,
        (404, Route::Execution(_)) => Code::ExecutionNotFound,
        (404, Route::Batch | Route::BatchExecutions) => Code::BatchNotFound,
        (404, Route::User | Route::Call | Route::Other) => Code::NotFound,
        (429, _) => Code::RateLimited,
        (400..=499, _) => Code::InvalidRequest,
        _ => Code::UpstreamUnavailable,
    };
    let words = UpstreamWords { status: status.as_u16(), message: String::new() };
    let detail = format!("upstream responded with {}", status.as_u16());
    let kept = if code == Code::UpstreamDenied { StatusCode::BAD_GATEWAY } else { code.status() };
    Problem { status: kept, upstream: Some(words), ..Problem::new(code, detail) }
}

/// The problem for a failed request. A write may have arrived, so a person must decide whether to repeat it.
pub(super) fn failed(error: &ForwardError, is_read: bool) -> Problem {
    let doubt = "; the request may have arrived: check before sending it again";
    let (code, detail) = match error {
        ForwardError::Unreachable(_) => (Code::UpstreamUnavailable, error.to_string()),
        ForwardError::Broken if is_read => (Code::UpstreamUnavailable, error.to_string()),
        ForwardError::Broken => (Code::UpstreamUnavailable, format!("{error}{doubt}")),
        ForwardError::TimedOut if is_read => (Code::UpstreamTimeout, error.to_string()),
        ForwardError::TimedOut => (Code::UpstreamTimeout, format!("{error}{doubt}")),
        ForwardError::BodyBroke | ForwardError::BadTarget => (Code::InvalidRequest, error.to_string()),
    };
    let mut problem = Problem::new(code, detail);
    if !is_read && matches!(error, ForwardError::Broken | ForwardError::TimedOut) {
        problem.retry_after = None;
    }
    if *error == ForwardError::BodyBroke {
        problem.status = StatusCode::REQUEST_TIMEOUT;
    }
    problem
}

/// The problem for a failed shared read.
pub(super) fn not_read(not_read: &NotRead) -> Problem {
    match not_read {
        NotRead::Forward(error) => failed(error, true),
        NotRead::TooLarge => malformed(),
    }
}

fn malformed() -> Problem {
    Problem::new(Code::UpstreamMalformed, "upstream's response violates its contract")
}

impl VisibleResponse {
    /// The response. The caller's conditions are evaluated here, against the complete response.
    pub(super) fn present(self, parts: &Parts, reached: Reached) -> Result<Response, Problem> {
        let Self { whole, body, is_part } = self;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = whole.status;
        *response.headers_mut() = whole.headers.clone();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        if whole.status == StatusCode::OK {
            if is_part || !headers.contains_key(header::ETAG) {
                set(headers, header::ETAG, Some(etag(&body)));
            }
            let age = whole.read_at.elapsed();
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
            let lifetime = whole.lifetime.as_secs();
            set(headers, header::CACHE_CONTROL, Some(format!("private, max-age={lifetime}")));
            let how = match reached {
                Reached::Kept => "hit",
                Reached::Read => "fwd=miss",
            };
            let ttl = lifetime.saturating_sub(age.as_secs());
            let name = HeaderName::from_static("cache-status");
            set(headers, name, Some(format!("fanfold; {how}; ttl={ttl}")));
            headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
            if is_known(&parts.headers, headers) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(response);
            }
        }
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if parts.method != Method::HEAD {
            *response.body_mut() = Body::from(body);
        }
        Ok(response)
    }
}

fn etag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// Whether the caller already has this response (RFC 9110 section 13.2.2).
fn is_known(asked: &HeaderMap, answer: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let own = answer.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        return fields::names_etag(asked, own);
    }
    // Compared as text: only a date that was sent from here is meaningful.
    let since = asked.get(header::IF_MODIFIED_SINCE);
    since.is_some() && since == answer.get(header::LAST_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c";
    const OTHER: &str = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3d";

    fn one() -> Agents {
        Agents::Some([ONE.parse().unwrap()].into())
    }

    #[test]
    fn a_list_keeps_the_tokens_agents_byte_for_byte() {
        let body = format!(
            "[ {{\"id\":\"{OTHER}\"}}, {{ \"n\":1.0, \"id\":\"{ONE}\"}} ,{{\"id\":7}},3,{{\"id\":\"{OTHER}\",\"id\":\"{ONE}\"}}]"
        );
        let kept = only(&one(), body.as_bytes()).unwrap();
        assert_eq!(kept, format!("[{{ \"n\":1.0, \"id\":\"{ONE}\"}}]"));
        assert_eq!(only(&one(), b"{}"), None);
        assert_eq!(only(&one(), b"[]").unwrap(), "[]");
    }

    #[test]
    fn an_execution_that_names_two_agents_has_none() {
        assert_eq!(agent_of(format!("{{\"agent_id\":\"{ONE}\"}}").as_bytes()), ONE.parse().ok());
        for body in
            ["{}".to_owned(), format!("{{\"agent_id\":\"{OTHER}\",\"agent_id\":\"{ONE}\"}}"), "[]".to_owned()]
        {
            assert_eq!(agent_of(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn evaluates_a_condition_against_the_complete_response() {
        let map = |name: HeaderName, value: &str| -> HeaderMap {
            [(name, HeaderValue::try_from(value).unwrap())].into_iter().collect()
        };
        let answer = map(header::ETAG, "\"a\"");
        for (tag, known) in [("\"a\"", true), ("W/\"a\"", true), ("*", true), ("\"b\"", false)] {
            assert_eq!(is_known(&map(header::IF_NONE_MATCH, tag), &answer), known, "{tag}");
        }
        assert!(!is_known(&HeaderMap::new(), &answer));
    }
}
