//! How a response about executions is sent, as far as its request decides that.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{Method, header};

use super::App;
use super::access_log::RequestLog;
use super::negotiate::{Codings, MediaType};
use super::prefer::{Prefer, directives};
use super::present::{self, HeaderState, Storable};
use super::problem::Problem;
use super::question::Format;
use crate::domain::AgentId;
use crate::engine::{CacheDirectives, Verdict};
use crate::shape::form_digest;
use crate::shutdown::Shutdown;

/// How a response is sent.
#[derive(Debug)]
pub(super) struct ResponseTerms {
    pub(super) parts: Parts,
    pub(super) media: MediaType,
    pub(super) codings: Codings,
    pub(super) directives: CacheDirectives,
    pub(super) prefer: Prefer,
    /// The longest wait that the gateway allows.
    deadline: Duration,
    /// Distinguishes the response from whole rows of one agent, in its `ETag`.
    pub(super) form: Option<String>,
}

impl ResponseTerms {
    /// Reads the headers of a request. `format` is its parameter, and `deadline` the longest wait that the
    /// gateway allows.
    ///
    /// # Errors
    /// None of the media types is acceptable, or none of the codings.
    pub(super) fn read(
        parts: Parts,
        offered: &[MediaType],
        format: Option<Format>,
        deadline: Duration,
    ) -> Result<Self, Problem> {
        let media = MediaType::choose(offered, format, &parts.headers)?;
        let codings = Codings::choose(&parts.headers)?;
        let (directives, prefer) = (directives(&parts.headers), Prefer::read(&parts.headers));
        Ok(Self { parts, media, codings, directives, prefer, deadline, form: None })
    }

    /// Adds the agents of the sections to the form.
    pub(super) fn about_agents(&mut self, agents: &[AgentId]) {
        let agents: Vec<_> = agents.iter().map(AgentId::to_string).collect();
        let form = self.form.take().unwrap_or_default();
        self.form = Some(form_digest(&format!("{form}&agents={}", agents.join(","))));
    }

    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    /// How long the caller waits for the first rows.
    pub(super) fn longest_wait(&self) -> Duration {
        self.prefer.wait_within(self.deadline)
    }

    /// The shutdown of the request's connection; if it has none, the shutdown of the process.
    pub(super) fn shutdown(&self, app: &App) -> Shutdown {
        self.parts.extensions.get().unwrap_or(&app.shutdown).clone()
    }

    /// The response with these headers and this body.
    pub(super) fn response(&self, state: HeaderState<'_>, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.media.header());
        let storable = Storable::under(&self.directives);
        let applied = self.prefer.applied(self.deadline);
        present::headers(headers, state, storable, applied, self.form.as_deref());
        response
    }

    /// The response to a caller that already has this one.
    pub(super) fn not_modified(&self, verdict: &Verdict, request_log: &RequestLog) -> Option<Response> {
        present::not_modified(&self.parts.headers, verdict, self.form.as_deref(), || {
            request_log.note_verdict(verdict);
            self.response(HeaderState::Verdict(verdict), Body::empty())
        })
    }
}

/// The body of a response to `HEAD`: empty, without the claim that the response to `GET` is empty.
pub(super) fn unknown_length() -> Body {
    Body::from_stream(stream::empty::<std::io::Result<Bytes>>())
}
