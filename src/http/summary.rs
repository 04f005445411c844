//! `GET /agents/{agent_id}/executions/summary`: totals of executions, without their rows.
//!
//! Rows are looked at once: what totals need of them is kept beside each entry, and a repeated question folds that. It is
//! kept by row, so it serves every time zone, range and filter. Upstream is asked exactly what `/all` would ask.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header;
use http::request::Parts;
use serde::Serialize;
use tokio::time::Instant;

use super::App;
use super::all::write_whole;
use super::authorized::{AgentSegment, AuthorizedRequest};
use super::body::{MissingPart, WholeBody, missing};
use super::negotiate::{Codings, FOR_TOTALS, MediaType};
use super::prefer::{Prefer, directives};
use super::present::{self, HeaderState, Storable};
use super::problem::{Code, ErrorStyle, Problem};
use super::question::Format;
use super::summary_params::TotalsParams;
use crate::domain::{AgentId, Entry, Span, Timestamp};
use crate::encode::CompressionPool;
use crate::engine::{Answer, AskError, Gathered, Question, ResponseMode, Tolerance, Verdict};
use crate::shape::form_digest;
use crate::shape::totals::{Facts, MOST_GROUPS, Totals, TotalsError};

/// About how long a group is in a response, in bytes.
const USUAL_GROUP: u64 = 256;

/// The handler.
pub(super) async fn summary(
    State(app): State<Arc<App>>,
    agent: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    // As for `/all`: in a box only the box moves.
    Box::pin(answer(app, agent, parts)).await
}

async fn answer(app: Arc<App>, agent: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedRequest::begin(&app, &agent, &parts, ErrorStyle::Own).await?;
    let wanted = SummaryRequest::read(parts, app.settings.request_deadline)?;
    authorized.request_log.note_format(wanted.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let refused = |error: AskError| authorized.renderer.problem(&error);
    let ask = Box::pin(app.engine.ask(wanted.question(&authorized)));
    let answer = app.unless_ended(ask).await.map_err(refused)?;
    if let Some(response) = answer.from_cache().and_then(|verdict| wanted.not_modified(verdict, &authorized))
    {
        return Ok(response);
    }
    let answer = app.unless_ended(Box::pin(answer.with_bytes())).await.map_err(refused)?;
    let pool = &app.compression_pool;
    let fold = Box::pin(wanted.fold(answer, authorized.agent, pool));
    let folded = app.unless_ended(fold).await.map_err(refused)?.map_err(too_large)?;
    if let Some(response) = wanted.not_modified(&folded.verdict, &authorized) {
        return Ok(response);
    }
    let verdict = folded.verdict.clone();
    let body = wanted.body(folded, &authorized, pool).await.map_err(refused)?.map_err(too_large)?;
    authorized.request_log.note_verdict(&verdict);
    let mut response = wanted.response(&verdict, Body::empty());
    present::total_count(response.headers_mut(), verdict.total);
    if wanted.media.format == Format::Csv {
        present::attachment(response.headers_mut(), "summary", authorized.agent, verdict.as_of);
    }
    let to = (authorized.renderer, &wanted.parts.method);
    write_whole(pool, WholeBody::verbatim(body.into()), wanted.codings, to, place, response).await
}

fn too_large(error: TotalsError) -> Problem {
    Problem::new(Code::AnswerTooLarge, error.to_string())
}

/// The totals that are asked for, and how they are to be sent.
#[derive(Debug)]
struct SummaryRequest {
    parts: Parts,
    params: TotalsParams,
    prefer: Prefer,
    longest_wait: Duration,
    media: MediaType,
    codings: Codings,
    /// What tells the response apart from others over the same rows.
    form: String,
    /// The name of what is kept beside an entry.
    name: Arc<str>,
}

/// The totals of all rows.
#[derive(Debug)]
struct Folded {
    totals: Totals,
    verdict: Verdict,
    /// When the newest row was created.
    newest: Timestamp,
}

impl SummaryRequest {
    fn read(parts: Parts, longest_wait: Duration) -> Result<Self, Problem> {
        let params = TotalsParams::parse(parts.uri.query())?;
        let media = MediaType::choose(&FOR_TOTALS, params.format, &parts.headers)?;
        let codings = Codings::choose(&parts.headers)?;
        let mut prefer = Prefer::read(&parts.headers);
        let mut form = params.totals.form(&params.selection.zone, &[]);
        if media.format == Format::Csv {
            // A table has no place to say what is missing.
            prefer.tolerance = Tolerance::Strict;
            form = form_digest(&format!("csv={form}"));
        }
        let name = format!("totals={}", params.totals.facts_form()).into();
        Ok(Self { parts, params, prefer, longest_wait, media, codings, form, name })
    }

    fn question(&self, authorized: &AuthorizedRequest) -> Question {
        let selection = &self.params.selection;
        let wait = self.prefer.wait_within(self.longest_wait);
        Question {
            caller: authorized.caller,
            credential: authorized.credential.clone(),
            agent: authorized.agent,
            filters: selection.filters.clone(),
            any_status: selection.any_status.clone(),
            from: selection.from,
            to: selection.to,
            newest: None,
            directives: directives(&self.parts.headers),
            tolerance: self.prefer.tolerance,
            mode: ResponseMode::Condensed { deadline: Instant::now() + wait },
            need: present::row_need(&self.parts.headers),
            trace: authorized.request_log.trace.clone(),
        }
    }

    /// The response to a caller that has these totals already.
    fn not_modified(&self, verdict: &Verdict, authorized: &AuthorizedRequest) -> Option<Response> {
        present::not_modified(&self.parts.headers, verdict, Some(&self.form), || {
            authorized.request_log.note_verdict(verdict);
            self.response(verdict, Body::empty())
        })
    }

    fn response(&self, verdict: &Verdict, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.media.header());
        let storable = Storable::under(&directives(&self.parts.headers));
        let applied = self.prefer.applied(self.longest_wait);
        present::headers(headers, HeaderState::Verdict(verdict), storable, applied, Some(&self.form));
        response
    }

    /// Adds up all rows. They are let go on the way.
    async fn fold(
        &self,
        mut answer: Answer,
        agent: AgentId,
        pool: &CompressionPool,
    ) -> Result<Result<Folded, TotalsError>, AskError> {
        let none = || Totals::new(Arc::clone(&self.params.totals), self.params.selection.zone.clone());
        let (mut totals, mut newest) = (none(), Timestamp::MIN);
        while let Some(gathered) = answer.gather().await? {
            match gathered {
                Gathered::Rows(slice) => {
                    // The only way to fail is that the runtime ends.
                    let facts = self.facts(&slice.entry, pool).await.map_err(|_| AskError::ShuttingDown)?;
                    let rows = slice.positions().map(|position| {
                        let row = slice.entry.rows().at(position);
                        (position, row.is_dated.then_some(row.created_at))
                    });
                    if let Err(error) = totals.add(agent, &facts, rows) {
                        return Ok(Err(error));
                    }
                    newest = slice.rows().map(|row| row.created_at).max().unwrap_or(newest).max(newest);
                }
                Gathered::Restarted => (totals, newest) = (none(), Timestamp::MIN),
            }
        }
        Ok(Ok(Folded { totals, verdict: answer.verdict(), newest }))
    }

    /// What the totals need of an entry's rows, read off the workers unless they are few or it is kept from before.
    async fn facts(&self, entry: &Arc<Entry>, pool: &CompressionPool) -> io::Result<Arc<Facts>> {
        let work = if entry.has_extract(&self.name) { 0 } else { entry.byte_len() };
        let (entry, name, totals) =
            (Arc::clone(entry), Arc::clone(&self.name), Arc::clone(&self.params.totals));
        let read = move || {
            entry.extract(&name, || {
                // Rows were read as JSON objects when they arrived.
                let facts = entry.read_rows(|rows| Facts::read(&totals, rows))?.map_err(io::Error::other)?;
                let weight = facts.weight();
                Ok((facts, weight))
            })
        };
        pool.run(work, read).await
    }

    async fn body(
        &self,
        folded: Folded,
        authorized: &AuthorizedRequest,
        pool: &CompressionPool,
    ) -> Result<Result<Vec<u8>, TotalsError>, AskError> {
        let Folded { totals, verdict, newest } = folded;
        let groups = verdict.count.min(MOST_GROUPS as u64);
        let work = usize::try_from(groups * USUAL_GROUP).unwrap_or(usize::MAX);
        let format = self.media.format;
        // Rows newer than `as_of` are counted if they are known, so the last group ends with the newest of them.
        let from = self.params.selection.from.unwrap_or(Timestamp::MIN);
        let span = Span::new(from, verdict.as_of.max(newest));
        let missing = missing(&verdict.missing, authorized.renderer);
        let head = head(authorized.agent, &verdict, missing);
        let write = move || {
            if format == Format::Csv {
                let mut out = Vec::new();
                return Ok(totals.write_csv(&mut out).map(|()| out));
            }
            let mut out = head;
            Ok(totals.write_json(span, &mut out).map(|()| {
                out.push(b'}');
                out
            }))
        };
        pool.run(work, write).await.map_err(|_| AskError::ShuttingDown)
    }
}

/// What stands before the totals in a document, up to their first member.
fn head(agent: AgentId, verdict: &Verdict, missing: Vec<MissingPart>) -> Vec<u8> {
    #[derive(Serialize)]
    struct SummaryHead {
        agent_id: String,
        as_of: String,
        complete: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<MissingPart>,
    }
    let head = SummaryHead {
        agent_id: agent.to_string(),
        as_of: verdict.as_of.to_string(),
        complete: verdict.is_complete(),
        missing,
    };
    // Text and booleans only: serialization can't fail.
    let mut text = serde_json::to_vec(&head).unwrap_or_default();
    text.pop();
    text.push(b',');
    text
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
