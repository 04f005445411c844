//! `GET /agents/{agents}/executions/changes`: what changed since a cursor.
//!
//! The question is answered as for `/all`, at the same cost upstream; only the rows that the caller does not have are sent.
//! A response streams if the change log of its cursor is kept. If it is lost, the answer is collected first, because only
//! then it is certain whether the cursor is gone.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{Method, Version, header};
use tokio::time::Instant;

use super::App;
use super::access_log::RequestLog;
use super::all::{Delivery, set_coding, write_whole};
use super::authorized::{AuthorizedRequest, ResponseShape};
use super::body::{Streamed, WholeBody, events};
use super::changes_body::{FollowedResponse, NoOutcome, changed, changes_envelope, gone, last_lines};
use super::changes_params::ChangesParams;
use super::negotiate::{Codings, FOR_CHANGES, MediaType};
use super::params::invalid;
use super::places::ResponsePlace;
use super::prefer::{Prefer, directives};
use super::present::{self, HeaderState, Storable};
use super::problem::Problem;
use super::projection::{self, Projection};
use super::question::{EndRecord, Format};
use super::recheck::Recheck;
use crate::domain::{AgentId, Caller, Credential, CredentialId, EntrySlice};
use crate::encode::Framing;
use crate::engine::{
    Answer, AskError, CacheDirectives, Comparison, Cursor, CursorError, FollowedAgents, FollowedQuestion,
    Gathered, HeldMemory, Logging, Question, ResponseExtent, ResponseMode, RowNeed, Tolerance, Verdict,
};
use crate::shape::form_digest;
use crate::shutdown::Shutdown;

/// The answer to a request about one agent that was read and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedRequest,
    wanted: ChangesRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let refused = |error: AskError| authorized.renderer.problem(&error);
    let mut comparison = wanted.compare(&app, authorized.caller, authorized.credential.id());
    comparison.section(authorized.agent);
    let extent = comparison.extent();
    let delivery = wanted.delivery(extent);
    let question = wanted.question(&authorized, delivery);
    // A caller that has all rows already needs no bytes.
    let need = if extent == ResponseExtent::Everything { RowNeed::Bytes } else { RowNeed::Facts };
    let ask = Box::pin(app.engine.ask(Question { need, ..question.clone() }));
    let mut answer = app.unless_ended(ask).await.map_err(refused)?;
    if let Some(response) = wanted.known(&app, &comparison, answer.from_cache(), &authorized.request_log)? {
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

/// A request for what changed.
#[derive(Debug)]
pub(super) struct ChangesRequest {
    pub(super) parts: Parts,
    pub(super) params: ChangesParams,
    followed: FollowedQuestion,
    since: Option<Cursor>,
    pub(super) directives: CacheDirectives,
    prefer: Prefer,
    longest_wait: Duration,
    pub(super) media: MediaType,
    pub(super) codings: Codings,
    /// What becomes of each row; none if it leaves whole.
    pub(super) projection: Option<Arc<Projection>>,
    /// What tells the response apart from others over the same rows.
    form: String,
}

/// What changed, in the form in which it is sent.
struct CollectedChanges {
    slices: Vec<EntrySlice>,
    verdict: Verdict,
    held: HeldMemory,
}

impl ChangesRequest {
    pub(super) fn read(
        parts: Parts,
        credential: &Credential,
        agents: FollowedAgents,
        longest_wait: Duration,
    ) -> Result<Self, Problem> {
        let params = ChangesParams::parse(parts.uri.query())?;
        let media = MediaType::choose(&FOR_CHANGES, params.format, &parts.headers)?;
        let codings = Codings::choose(&parts.headers)?;
        let projection = Projection::of_rows(params.fields.as_ref(), params.omit.as_ref(), media.format)?;
        let rows = &params.rows;
        let followed = FollowedQuestion::new(
            credential,
            agents,
            (&rows.filters, rows.any_status.as_ref()),
            (rows.from, rows.to),
        );
        let since = params.since.as_deref().map(|text| followed.cursor(text).map_err(refused)).transpose()?;
        let list = projection.as_ref().map_or("", Projection::form);
        let form = form_digest(&format!("changes={list};{}", params.since.as_deref().unwrap_or_default()));
        // A response that leaves something out could not be told from one in which it was removed.
        let prefer = Prefer { tolerance: Tolerance::Strict, ..Prefer::read(&parts.headers) };
        let directives = directives(&parts.headers);
        let projection = projection.map(Arc::new);
        Ok(Self {
            parts,
            params,
            followed,
            since,
            directives,
            prefer,
            longest_wait,
            media,
            codings,
            projection,
            form,
        })
    }

    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    fn logging(&self) -> Logging {
        if self.directives.no_store || self.is_head() { Logging::Forbidden } else { Logging::Allowed }
    }

    pub(super) fn delivery(&self, extent: ResponseExtent) -> Delivery {
        // As for `/all`: a stream to an HTTP/1.0 client could only end with the connection.
        let has_chunks = self.parts.version > Version::HTTP_10;
        match (self.media.format, extent) {
            (Format::Ndjson, ResponseExtent::Everything | ResponseExtent::Changes) if has_chunks => {
                Delivery::Streamed
            }
            (Format::Ndjson | Format::Json | Format::Csv, _) => Delivery::Collected,
        }
    }

    pub(super) fn question(&self, authorized: &AuthorizedRequest, delivery: Delivery) -> Question {
        let wait = self.longest_wait();
        let mode = match delivery {
            Delivery::Collected => ResponseMode::Condensed { deadline: Instant::now() + wait },
            Delivery::Streamed => ResponseMode::Streamed { row_wait: wait },
        };
        authorized.question(&self.params.rows, self.directives, mode)
    }

    /// Notes the agents of the sections, which are part of what tells the response apart.
    pub(super) fn about_agents(&mut self, agents: &[AgentId]) {
        let agents: Vec<_> = agents.iter().map(AgentId::to_string).collect();
        self.form = form_digest(&format!("{}&agents={}", self.form, agents.join(",")));
    }

    /// How long the caller waits for the first rows.
    pub(super) fn longest_wait(&self) -> Duration {
        self.prefer.wait_within(self.longest_wait)
    }

    /// Compares the response with what the caller has.
    pub(super) fn compare(&self, app: &App, caller: Caller, credential: CredentialId) -> Comparison {
        app.engine.compare(self.followed.clone(), self.since, (caller.id, credential), self.logging())
    }

    /// The response that needs no rows, as far as the verdict on all of them is known before any is taken.
    pub(super) fn known(
        &self,
        app: &App,
        comparison: &Comparison,
        verdict: Option<&Verdict>,
        request_log: &RequestLog,
    ) -> Result<Option<Response>, Problem> {
        let Some(verdict) = verdict else { return Ok(None) };
        self.not_modified(app, comparison, verdict, request_log)
    }

    /// The response to a caller that has this one already. One whose log is lost needs another cursor.
    ///
    /// # Errors
    /// If its cursor is gone.
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
        let response = present::not_modified(&self.parts.headers, verdict, Some(&self.form), || {
            app.engine.touch(comparison);
            request_log.note_verdict(verdict);
            self.response(HeaderState::Verdict(verdict), Body::empty())
        });
        Ok(response)
    }

    /// Takes the rows that the caller does not have. The others are let go on the way.
    async fn collect(
        &self,
        mut answer: Answer,
        followed: &mut FollowedResponse,
    ) -> Result<CollectedChanges, AskError> {
        let (app, agent) = (Arc::clone(&followed.app), followed.question.agent);
        let most = app.settings.max_json_bytes;
        let (mut slices, mut bytes, mut held) = (Vec::new(), 0u64, answer.new_held());
        while let Some(gathered) = answer.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    let changed = followed.comparison.take(agent, slice).map_err(AskError::NoMemory)?;
                    let Some(mut slice) = changed else { continue };
                    if let Some(projection) = &self.projection {
                        // The only way to fail is that the runtime ends.
                        let applied = projection.apply(slice, agent, &app.compression_pool).await;
                        slice = applied.map_err(|_| AskError::ShuttingDown)?;
                    }
                    bytes += slice.byte_len() as u64;
                    if bytes > most {
                        return Err(AskError::TooLarge { limit: most });
                    }
                    held.hold(&slice).map_err(AskError::NoMemory)?;
                    slices.push(slice);
                }
                Gathered::Restarted => {
                    bytes = 0;
                    slices.clear();
                    held = answer.new_held();
                    followed.comparison.restart(agent);
                }
            }
        }
        Ok(CollectedChanges { slices, verdict: answer.verdict(), held })
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
        let CollectedChanges { slices, verdict, held } =
            app.unless_ended(collect).await.map_err(|e| refused(&e))?;
        let log = &authorized.request_log;
        if let Some(response) = self.not_modified(&app, &followed.comparison, &verdict, log)? {
            return Ok(response);
        }
        authorized.request_log.note_verdict(&verdict);
        let mut response = self.response(HeaderState::Verdict(&verdict), Body::empty());
        if self.media.format == Format::Json {
            present::total_count(response.headers_mut(), Some(verdict.count));
        }
        if self.is_head() {
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
        let (framing, last_line) = match self.media.format {
            Format::Ndjson => (Framing::Ndjson, last_lines(&outcome, sent, &verdict, ResponseShape::Plain)),
            Format::Json | Format::Csv => {
                let since = self.params.since.as_deref();
                (changes_envelope(authorized.agent, since, &outcome, &verdict), Bytes::new())
            }
        };
        let whole = WholeBody::new(framing, slices, last_line, held);
        let to = (authorized.renderer, &self.parts.method);
        write_whole(&app.compression_pool, whole, self.codings, to, place, response).await
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
        let coding = self.codings.preferred;
        let body = if self.is_head() {
            unknown_length()
        } else {
            let app = Arc::clone(&followed.app);
            let refused =
                Recheck::new(&app, &authorized, vec![authorized.agent], &self.parts.headers).refused();
            let AuthorizedRequest { renderer, request_log, agent, .. } = authorized;
            let compression_pool = app.compression_pool.clone();
            let end_record = EndRecord::Wanted;
            let streamed = Streamed { coding, end_record, renderer, request_log, compression_pool, place };
            // The connection's own part of it, where there is one.
            let shutdown = self.parts.extensions.get::<Shutdown>().unwrap_or(&app.shutdown);
            let events = events(answer, shutdown.clone(), Box::pin(refused));
            let (changed, pool) = (changed(events, followed), app.compression_pool.clone());
            streamed.body(projection::projected(changed, self.projection.clone(), agent, pool))
        };
        let mut response = self.response(state, body);
        set_coding(&mut response, coding);
        response
    }

    pub(super) fn response(&self, state: HeaderState<'_>, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.media.header());
        let storable = Storable::under(&self.directives);
        let applied = self.prefer.applied(self.longest_wait);
        present::headers(headers, state, storable, applied, Some(&self.form));
        response
    }
}

/// The body of a response to `HEAD`: empty, and no claim that the response to `GET` would be.
pub(super) fn unknown_length() -> Body {
    Body::from_stream(stream::empty::<std::io::Result<Bytes>>())
}

fn refused(error: CursorError) -> Problem {
    let why = match error {
        CursorError::Malformed => "it is not a cursor".to_owned(),
        CursorError::OtherQuestion(part) => {
            format!("it is a cursor of another request, in which {part} differ")
        }
    };
    invalid(format!("`since` is not valid: {why}; accepted is the latest cursor of the same request"))
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
