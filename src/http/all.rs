//! `GET /agents/{agents}/executions/all` for one agent: every execution in one response.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Version, header};
use tokio::time::Instant;

use super::App;
use super::authorized::{AuthorizedRequest, ResponseShape};
use super::body::{StreamEnd, Streamed, WholeBody, end_record, envelope, events};
use super::negotiate::{Codings, FOR_ROWS, set_coding};
use super::params::invalid;
use super::places::ResponsePlace;
use super::present::{self, HeaderState};
use super::problem::{ErrorRenderer, Problem};
use super::projection::{self, Projection};
use super::question::{AllParams, EndRecord, Format};
use super::recheck::Recheck;
use super::response_terms::{ResponseTerms, unknown_length};
use crate::domain::AgentId;
use crate::encode::{Coding, CompressionPool, Framing};
use crate::engine::{
    Answer, AskError, ByteLimit, Collected, Newest, Question, ResponseMode, RowNeed, Tolerance, Verdict,
};

/// Responds to a request about one agent that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedRequest,
    wanted: AllRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let ask = Box::pin(app.engine.ask(wanted.question(&authorized)));
    let answer = app.unless_ended(ask).await.map_err(|e| authorized.renderer.problem(&e))?;
    if let Some(response) =
        answer.from_cache().and_then(|verdict| wanted.terms.not_modified(verdict, &authorized.request_log))
    {
        return Ok(response);
    }
    let answer = if wanted.needs_bytes_now() {
        let with_bytes = Box::pin(answer.with_bytes());
        app.unless_ended(with_bytes).await.map_err(|e| authorized.renderer.problem(&e))?
    } else {
        answer
    };
    match wanted.delivery {
        Delivery::Streamed => Ok(wanted.stream(&app, answer, authorized, place)),
        Delivery::Collected => {
            let limit = ByteLimit::new(app.settings.max_json_bytes);
            let collect = Box::pin(wanted.collect(&app.compression_pool, answer, authorized.agent, &limit));
            let collected = app.unless_ended(collect).await.map_err(|e| authorized.renderer.problem(&e))?;
            match wanted.terms.not_modified(&collected.verdict, &authorized.request_log) {
                Some(response) => Ok(response),
                None => {
                    let collected = Box::pin(wanted.with_bytes(&app, collected, &authorized));
                    let collected =
                        app.unless_ended(collected).await.map_err(|e| authorized.renderer.problem(&e))?;
                    wanted.whole(&app.compression_pool, collected, &authorized, place).await
                }
            }
        }
    }
}

/// A request for all rows of a range.
#[derive(Debug)]
pub(super) struct AllRequest {
    pub(super) params: AllParams,
    pub(super) terms: ResponseTerms,
    /// When the request arrived.
    begun: Instant,
    pub(super) delivery: Delivery,
    /// How each row is rewritten; `None` if it is sent whole.
    pub(super) projection: Option<Arc<Projection>>,
}

/// Whether a response is sent once it is complete, or while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Collected,
    Streamed,
}

impl AllRequest {
    pub(super) fn read(parts: Parts, longest_wait: Duration, shape: ResponseShape) -> Result<Self, Problem> {
        let mut params = AllParams::parse(parts.uri.query())?;
        let mut terms = ResponseTerms::read(parts, &FOR_ROWS, params.format, longest_wait)?;
        let format = terms.media.format;
        let projection = Projection::of(&params, format, shape)?.map(Arc::new);
        terms.form = projection.as_deref().map(|projection| projection.form().to_owned());
        // Without the end record, a reader could not tell which sections are complete.
        if shape == ResponseShape::Sections {
            params.end_record = EndRecord::Wanted;
        }
        // A table has no place to say what is missing.
        if format == Format::Csv {
            terms.prefer.tolerance = Tolerance::Strict;
        }
        let is_mute = params.end_record == EndRecord::Absent && format == Format::Ndjson;
        if is_mute && terms.prefer.tolerance == Tolerance::Lenient {
            return Err(invalid(
                "`end_record` is needed with `Prefer: handling=lenient` and NDJSON, to say what is missing; accepted: \
                 `true`"
                    .to_owned(),
            ));
        }
        // A stream to an HTTP/1.0 client could only end with the connection, and a broken one would look
        // complete.
        let has_chunks = terms.parts.version > Version::HTTP_10;
        let delivery = match format {
            Format::Ndjson if has_chunks => Delivery::Streamed,
            Format::Ndjson | Format::Json | Format::Csv => Delivery::Collected,
        };
        Ok(Self { params, terms, begun: Instant::now(), delivery, projection })
    }

    pub(super) fn question(&self, authorized: &AuthorizedRequest) -> Question {
        let wait = self.terms.longest_wait();
        let mode = match self.delivery {
            Delivery::Collected if self.projection.is_some() => {
                ResponseMode::Condensed { deadline: self.begun + wait }
            }
            Delivery::Collected => ResponseMode::Collected { deadline: self.begun + wait },
            Delivery::Streamed => ResponseMode::Streamed { row_wait: wait },
        };
        Question {
            newest: self.params.limit.map(|take| Newest { skip: 0, take }),
            tolerance: self.terms.prefer.tolerance,
            need: self.need(),
            ..authorized.question(&self.params.rows, self.terms.directives, mode)
        }
    }

    /// What is needed of known rows: their bytes, or only their facts if the response may turn out to be
    /// unchanged.
    fn need(&self) -> RowNeed {
        match self.projection {
            None if self.terms.is_head() => RowNeed::Facts,
            _ => present::row_need(&self.terms.parts.headers),
        }
    }

    /// Whether bytes are needed before the rows are taken, now that the caller may not have them yet.
    fn needs_bytes_now(&self) -> bool {
        match self.delivery {
            Delivery::Collected => self.projection.is_some(),
            Delivery::Streamed => !self.terms.is_head(),
        }
    }

    /// The rows with their bytes. Evicted rows are read again, unless only headers are sent.
    async fn with_bytes(
        &self,
        app: &App,
        collected: Collected,
        authorized: &AuthorizedRequest,
    ) -> Result<Collected, AskError> {
        let has_bytes = collected.slices.iter().all(|slice| slice.entry.has_bytes());
        if has_bytes || self.terms.is_head() {
            return Ok(collected);
        }
        let question = Question { need: RowNeed::Bytes, ..self.question(authorized) };
        app.engine.ask(question).await?.collect(app.settings.max_json_bytes).await
    }

    /// Takes all rows in the form in which they are sent.
    async fn collect(
        &self,
        compression_pool: &CompressionPool,
        answer: Answer,
        agent: AgentId,
        limit: &ByteLimit,
    ) -> Result<Collected, AskError> {
        match &self.projection {
            None => answer.collect_within(limit).await,
            Some(projection) => projection::collect(projection, answer, agent, compression_pool, limit).await,
        }
    }

    async fn whole(
        self,
        compression_pool: &CompressionPool,
        collected: Collected,
        authorized: &AuthorizedRequest,
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        let Collected { slices, verdict, held } = collected;
        let (framing, last_line) = self.framing(&verdict, authorized);
        authorized.request_log.note_verdict(&verdict);
        let mut response = self.terms.response(HeaderState::Verdict(&verdict), Body::empty());
        match self.terms.media.format {
            Format::Json => present::total_count(response.headers_mut(), verdict.total),
            Format::Csv => {
                present::total_count(response.headers_mut(), verdict.total);
                let of = present::name_of(authorized.agent);
                present::attachment(response.headers_mut(), "executions", &of, verdict.as_of);
            }
            Format::Ndjson => {}
        }
        if !self.terms.is_head() {
            authorized.request_log.add_rows(verdict.count);
        }
        let whole = WholeBody::new(framing, slices, last_line, held);
        let to = (authorized.renderer, &self.terms.parts.method);
        write_whole(compression_pool, whole, self.terms.codings, to, place, response).await
    }

    /// The text around the rows, and the line that may follow them.
    fn framing(&self, verdict: &Verdict, authorized: &AuthorizedRequest) -> (Framing, Bytes) {
        match (self.terms.media.format, self.params.end_record) {
            (Format::Json, _) => (envelope(authorized.agent, verdict, authorized.renderer), Bytes::new()),
            (Format::Ndjson, EndRecord::Absent) => (Framing::Ndjson, Bytes::new()),
            (Format::Ndjson, EndRecord::Wanted) => {
                let line = end_record(
                    verdict,
                    StreamEnd::Reached,
                    authorized.renderer,
                    &authorized.request_log.request_id,
                );
                (Framing::Ndjson, line)
            }
            (Format::Csv, _) => {
                let head = self.projection.as_ref().map(|table| table.header_line()).unwrap_or_default();
                (Framing::Table { head }, Bytes::new())
            }
        }
    }

    fn stream(
        self,
        app: &Arc<App>,
        answer: Answer,
        authorized: AuthorizedRequest,
        place: ResponsePlace,
    ) -> Response {
        let verdict = answer.from_cache().cloned();
        let state =
            verdict.as_ref().map_or(HeaderState::Unknown(self.terms.prefer.tolerance), HeaderState::Verdict);
        let coding = self.terms.codings.preferred;
        let body = if self.terms.is_head() {
            unknown_length()
        } else {
            let refused =
                Recheck::new(app, &authorized, vec![authorized.agent], &self.terms.parts.headers).refused();
            let AuthorizedRequest { renderer, request_log, agent, .. } = authorized;
            let compression_pool = app.compression_pool.clone();
            let streamed = Streamed {
                coding,
                end_record: self.params.end_record,
                renderer,
                request_log,
                compression_pool,
                place,
            };
            let (events, pool) =
                (events(answer, self.terms.shutdown(app), Box::pin(refused)), app.compression_pool.clone());
            streamed.body(projection::projected(events, self.projection.clone(), agent, pool))
        };
        let mut response = self.terms.response(state, body);
        set_coding(&mut response, coding);
        response
    }
}

/// Writes a complete body into a response, with its coding and length; for `HEAD`, only those. The length of
/// a gzip member is that of its pieces, most of which are stored deflated.
pub(super) async fn write_whole(
    compression_pool: &CompressionPool,
    whole: WholeBody,
    codings: Codings,
    (renderer, method): (ErrorRenderer, &Method),
    place: ResponsePlace,
    mut response: Response,
) -> Result<Response, Problem> {
    let coding = codings.for_length(whole.len());
    set_coding(&mut response, coding);
    let (length, body) = match coding {
        Coding::Gzip if method == Method::HEAD && !whole.has_bytes() => {
            *response.body_mut() = unknown_length();
            return Ok(response);
        }
        Coding::Identity if method == Method::HEAD => (whole.len(), Body::empty()),
        Coding::Identity => (whole.len(), whole.plain(compression_pool, place)),
        Coding::Gzip => {
            let packed = whole.packed(compression_pool).await.map_err(|e| renderer.problem(&e))?;
            let length = packed.len();
            (length, if method == Method::HEAD { Body::empty() } else { packed.body(place) })
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = body;
    Ok(response)
}

#[cfg(test)]
#[path = "all_tests.rs"]
mod tests;
