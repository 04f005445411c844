//! `GET /agents/{agents}/executions/changes`: what changed since a cursor.
//!
//! The rows are read as for `/all`, at the same cost; only those that the caller does not have are sent. A
//! response streams if the change log of its cursor is kept. If it is lost, the answer is collected first,
//! because only then it is certain whether the cursor is still valid.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http::request::Parts;
use tokio::time::Instant;

use super::App;
use super::access_log::RequestLog;
use super::all::{Delivery, write_whole};
use super::authorized::{AuthorizedRequest, ResponseShape};
use super::body::{Streamed, WholeBody, events};
use super::changes_body::{FollowedResponse, NoOutcome, changed, changes_envelope, gone, last_lines};
use super::changes_params::ChangesParams;
use super::negotiate::{FOR_CHANGES, set_coding};
use super::params::invalid;
use super::places::ResponsePlace;
use super::present::{self, HeaderState};
use super::problem::Problem;
use super::projection::{self, Projection, applied};
use super::question::{EndRecord, Format};
use super::recheck::Recheck;
use super::response_terms::{ResponseTerms, unknown_length};
use crate::domain::{Caller, Credential, CredentialId};
use crate::encode::Framing;
use crate::engine::{
    Answer, AskError, ByteLimit, Collected, Collection, Comparison, Cursor, CursorError, FollowedAgents,
    FollowedQuestion, Gathered, Logging, Question, ResponseExtent, ResponseMode, RowNeed, Tolerance, Verdict,
};
use crate::shape::form_digest;

/// Responds to a request about one agent that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedRequest,
    wanted: ChangesRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let refused = |error: AskError| authorized.renderer.problem(&error);
    let mut comparison = wanted.compare(&app, authorized.caller, authorized.credential.id());
    comparison.section(authorized.agent);
    let extent = comparison.extent();
    let delivery = wanted.delivery(extent);
    let question = wanted.question(&authorized, delivery);
    // A caller that already has all rows needs no bytes.
    let need = if extent == ResponseExtent::Everything { RowNeed::Bytes } else { RowNeed::Facts };
    let ask = Box::pin(app.engine.ask(Question { need, ..question.clone() }));
    let mut answer = app.unless_ended(ask).await.map_err(refused)?;
    if let Some(verdict) = answer.from_cache()
        && let Some(response) = wanted.not_modified(&app, &comparison, verdict, &authorized.request_log)?
    {
        return Ok(response);
    }
    if !answer.from_cache().is_some_and(|verdict| comparison.is_known(verdict)) {
        answer = app.unless_ended(Box::pin(answer.with_bytes())).await.map_err(refused)?;
    }
    answer.from_cache().into_iter().for_each(|verdict| comparison.expect(verdict));
    comparison.hold(answer.new_held()).map_err(|limit| refused(AskError::NoMemory(limit)))?;
    let followed =
        FollowedResponse { app: Arc::clone(&app), comparison, question, renderer: authorized.renderer };
    match delivery {
        Delivery::Streamed => Ok(wanted.stream(answer, followed, authorized, place)),
        Delivery::Collected => wanted.collected(answer, followed, &authorized, place).await,
    }
}

/// A request for changes.
#[derive(Debug)]
pub(super) struct ChangesRequest {
    pub(super) params: ChangesParams,
    pub(super) terms: ResponseTerms,
    followed: FollowedQuestion,
    since: Option<Cursor>,
    /// How each row is rewritten; `None` if it is sent whole.
    pub(super) projection: Option<Arc<Projection>>,
}

impl ChangesRequest {
    pub(super) fn read(
        parts: Parts,
        credential: &Credential,
        agents: FollowedAgents,
        longest_wait: Duration,
    ) -> Result<Self, Problem> {
        let params = ChangesParams::parse(parts.uri.query())?;
        let mut terms = ResponseTerms::read(parts, &FOR_CHANGES, params.format, longest_wait)?;
        let format = terms.media.format;
        let projection = Projection::of_rows(params.fields.as_ref(), params.omit.as_ref(), format)?;
        let rows = &params.rows;
        let followed = FollowedQuestion::new(
            credential,
            agents,
            (&rows.filters, rows.any_status.as_ref()),
            (rows.from, rows.to),
        );
        let since = params.since.as_deref().map(|text| followed.cursor(text).map_err(refused)).transpose()?;
        let list = projection.as_ref().map_or("", Projection::form);
        let since_text = params.since.as_deref().unwrap_or_default();
        terms.form = Some(form_digest(&format!("changes={list};{since_text}")));
        // A client could not distinguish rows that a response leaves out from removed rows.
        terms.prefer.tolerance = Tolerance::Strict;
        let projection = projection.map(Arc::new);
        Ok(Self { params, terms, followed, since, projection })
    }

    fn logging(&self) -> Logging {
        if self.terms.directives.no_store || self.terms.is_head() {
            Logging::Forbidden
        } else {
            Logging::Allowed
        }
    }

    pub(super) fn delivery(&self, extent: ResponseExtent) -> Delivery {
        // As for `/all`: a stream to an HTTP/1.0 client could only end with the connection.
        let has_chunks = self.terms.parts.version > Version::HTTP_10;
        match (self.terms.media.format, extent) {
            (Format::Ndjson, ResponseExtent::Everything | ResponseExtent::Changes) if has_chunks => {
                Delivery::Streamed
            }
            (Format::Ndjson | Format::Json | Format::Csv, _) => Delivery::Collected,
        }
    }

    pub(super) fn question(&self, authorized: &AuthorizedRequest, delivery: Delivery) -> Question {
        let wait = self.terms.longest_wait();
        let mode = match delivery {
            Delivery::Collected => ResponseMode::Condensed { deadline: Instant::now() + wait },
            Delivery::Streamed => ResponseMode::Streamed { row_wait: wait },
        };
        authorized.question(&self.params.rows, self.terms.directives, mode)
    }

    /// Compares the response with the caller's rows.
    pub(super) fn compare(&self, app: &App, caller: Caller, credential: CredentialId) -> Comparison {
        app.engine.compare(self.followed.clone(), self.since, (caller.id, credential), self.logging())
    }

    /// The response to a caller that already has these rows. If the log is lost, the caller gets a new
    /// cursor.
    ///
    /// # Errors
    /// The cursor is no longer valid.
    pub(super) fn not_modified(
        &self,
        app: &App,
        comparison: &Comparison,
        verdict: &Verdict,
        request_log: &RequestLog,
    ) -> Result<Option<Response>, Problem> {
        if comparison.extent() == ResponseExtent::NothingOrGone {
            return if comparison.is_known(verdict) { Ok(None) } else { Err(gone()) };
        }
        let response = self.terms.not_modified(verdict, request_log);
        if response.is_some() {
            app.engine.touch(comparison);
        }
        Ok(response)
    }

    /// Takes the rows that the caller does not have. The others are released as they arrive.
    async fn collect(
        &self,
        mut answer: Answer,
        followed: &mut FollowedResponse,
    ) -> Result<Collected, AskError> {
        let (app, agent) = (Arc::clone(&followed.app), followed.question.agent);
        let limit = ByteLimit::new(app.settings.max_json_bytes);
        let mut collection = Collection::new(&limit, answer.new_held());
        while let Some(gathered) = answer.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    let changed = followed.comparison.take(agent, slice).map_err(AskError::NoMemory)?;
                    let Some(slice) = changed else { continue };
                    let projection = self.projection.as_ref();
                    collection.push(applied(projection, slice, agent, &app.compression_pool).await?)?;
                }
                Gathered::Restarted => {
                    collection.restart(answer.new_held());
                    followed.comparison.restart(agent);
                }
            }
        }
        Ok(collection.finish(answer.verdict()))
    }

    async fn collected(
        self,
        answer: Answer,
        mut followed: FollowedResponse,
        authorized: &AuthorizedRequest,
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        let refused = |error: &AskError| authorized.renderer.problem(error);
        let app = Arc::clone(&followed.app);
        let collect = Box::pin(self.collect(answer, &mut followed));
        let Collected { slices, verdict, held } = app.unless_ended(collect).await.map_err(|e| refused(&e))?;
        let log = &authorized.request_log;
        if let Some(response) = self.not_modified(&app, &followed.comparison, &verdict, log)? {
            return Ok(response);
        }
        authorized.request_log.note_verdict(&verdict);
        let mut response = self.terms.response(HeaderState::Verdict(&verdict), Body::empty());
        if self.terms.media.format == Format::Json {
            present::total_count(response.headers_mut(), Some(verdict.count));
        }
        if self.terms.is_head() {
            // The length of a body with a cursor is known only once there is one.
            *response.body_mut() = unknown_length();
            return Ok(response);
        }
        let outcome = followed.finish(&verdict).await.map_err(|none| match none {
            NoOutcome::Failed(error) => refused(&error),
            NoOutcome::Gone => gone(),
        })?;
        let sent = slices.iter().map(|slice| slice.len() as u64).sum();
        authorized.request_log.add_rows(sent);
        let (framing, last_line) = match self.terms.media.format {
            Format::Ndjson => (Framing::Ndjson, last_lines(&outcome, sent, &verdict, ResponseShape::Plain)),
            Format::Json | Format::Csv => {
                let since = self.params.since.as_deref();
                (changes_envelope(authorized.agent, since, &outcome, &verdict), Bytes::new())
            }
        };
        let whole = WholeBody::new(framing, slices, last_line, held);
        let to = (authorized.renderer, &self.terms.parts.method);
        write_whole(&app.compression_pool, whole, self.terms.codings, to, place, response).await
    }

    fn stream(
        self,
        answer: Answer,
        followed: FollowedResponse,
        authorized: AuthorizedRequest,
        place: ResponsePlace,
    ) -> Response {
        let verdict = answer.from_cache().cloned();
        let state = verdict.as_ref().map_or(HeaderState::Unknown(Tolerance::Strict), HeaderState::Verdict);
        let coding = self.terms.codings.preferred;
        let body = if self.terms.is_head() {
            unknown_length()
        } else {
            let app = Arc::clone(&followed.app);
            let refused =
                Recheck::new(&app, &authorized, vec![authorized.agent], &self.terms.parts.headers).refused();
            let AuthorizedRequest { renderer, request_log, agent, .. } = authorized;
            let compression_pool = app.compression_pool.clone();
            let end_record = EndRecord::Wanted;
            let streamed = Streamed { coding, end_record, renderer, request_log, compression_pool, place };
            let events = events(answer, self.terms.shutdown(&app), Box::pin(refused));
            let (changed, pool) = (changed(events, followed), app.compression_pool.clone());
            streamed.body(projection::projected(changed, self.projection.clone(), agent, pool))
        };
        let mut response = self.terms.response(state, body);
        set_coding(&mut response, coding);
        response
    }
}

fn refused(error: CursorError) -> Problem {
    let why = match error {
        CursorError::Malformed => "it is not a cursor".to_owned(),
        CursorError::OtherQuestion(part) => {
            format!("it is a cursor of another request, in which {part} differ")
        }
    };
    invalid(format!("`since` is not valid: {why}; accepted: the latest cursor of the same request"))
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
