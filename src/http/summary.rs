//! `GET /agents/{agents}/executions/summary` for one agent: totals of executions, without their rows.
//!
//! Rows are parsed once: the values that totals need are stored with the index of their entry, longer than
//! their bytes, and a repeated request adds these up. They are stored by row and path, so they serve every
//! time zone, range and filter. Upstream is asked as for `/all`, but not for evicted rows whose values are
//! stored.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use tokio::time::Instant;

use super::App;
use super::access_log::RequestLog;
use super::all::write_whole;
use super::authorized::AuthorizedRequest;
use super::body::{MissingPart, WholeBody, missing, open_object};
use super::negotiate::FOR_TOTALS;
use super::places::ResponsePlace;
use super::present::{self, HeaderState};
use super::problem::{Code, ErrorRenderer, Problem};
use super::question::Format;
use super::response_terms::ResponseTerms;
use super::summary_fold::{Folded, TotalsFold};
use super::summary_params::TotalsParams;
use crate::domain::{AgentId, Span, Timestamp};
use crate::encode::CompressionPool;
use crate::engine::{AskError, Question, ResponseMode, RowNeed, Tolerance, Verdict};
use crate::shape::form_digest;
use crate::shape::totals::{MOST_GROUPS, TotalsError};

/// The approximate size of a group in a response, in bytes.
const USUAL_GROUP: u64 = 256;

/// Responds to a request about one agent that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedRequest,
    wanted: SummaryRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let agent = authorized.agent;
    let refused = |error: AskError| authorized.renderer.problem(&error);
    let ask = Box::pin(app.engine.ask(wanted.question(&authorized)));
    let answer = app.unless_ended(ask).await.map_err(refused)?;
    let request_log = &authorized.request_log;
    if let Some(response) =
        answer.from_cache().and_then(|verdict| wanted.terms.not_modified(verdict, request_log))
    {
        return Ok(response);
    }
    let fold = Box::pin(wanted.fold.fold(answer, agent, &app.compression_pool));
    let folded = app.unless_ended(fold).await.map_err(refused)?.map_err(too_large)?;
    if let Some(response) = wanted.terms.not_modified(&folded.verdict, request_log) {
        return Ok(response);
    }
    let head = head(agent, &folded.verdict, missing(&folded.verdict.missing, authorized.renderer));
    let of = present::name_of(agent);
    wanted.present(folded, head, &of, (&app, authorized.renderer, request_log), place).await
}

pub(super) fn too_large(error: TotalsError) -> Problem {
    Problem::new(Code::AnswerTooLarge, error.to_string())
}

/// The requested totals, and how they are sent.
#[derive(Debug)]
pub(super) struct SummaryRequest {
    params: TotalsParams,
    pub(super) terms: ResponseTerms,
    /// Makes the totals.
    pub(super) fold: TotalsFold,
}

impl SummaryRequest {
    pub(super) fn read(parts: Parts, longest_wait: Duration) -> Result<Self, Problem> {
        let params = TotalsParams::parse(parts.uri.query())?;
        let mut terms = ResponseTerms::read(parts, &FOR_TOTALS, params.format, longest_wait)?;
        // A table has no place to say what is missing.
        if terms.media.format == Format::Csv {
            terms.prefer.tolerance = Tolerance::Strict;
        }
        let zone = params.selection.zone.clone();
        let fold = TotalsFold { totals: Arc::clone(&params.totals), zone };
        terms.form = Some(form(&params, terms.media.format, &[]));
        Ok(Self { params, terms, fold })
    }

    /// Adds the agents of the sections to the form.
    pub(super) fn about_agents(&mut self, agents: &[AgentId]) {
        self.terms.form = Some(form(&self.params, self.terms.media.format, agents));
    }

    pub(super) fn question(&self, authorized: &AuthorizedRequest) -> Question {
        let wait = self.terms.longest_wait();
        let mode = ResponseMode::Condensed { deadline: Instant::now() + wait };
        Question {
            tolerance: self.terms.prefer.tolerance,
            need: RowNeed::Columns(Arc::clone(self.params.totals.columns())),
            ..authorized.question(&self.params.selection.rows, self.terms.directives, mode)
        }
    }

    /// The response with these totals, after `head` in a document; `of` is for the name of a file.
    pub(super) async fn present(
        &self,
        folded: Folded,
        head: Vec<u8>,
        of: &str,
        (app, renderer, request_log): (&App, ErrorRenderer, &RequestLog),
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        let pool = &app.compression_pool;
        let verdict = folded.verdict.clone();
        let body = self.body(folded, head, pool).await.map_err(|error| renderer.problem(&error))?;
        let body = body.map_err(too_large)?;
        request_log.note_verdict(&verdict);
        let mut response = self.terms.response(HeaderState::Verdict(&verdict), Body::empty());
        present::total_count(response.headers_mut(), verdict.total);
        if self.terms.media.format == Format::Csv {
            present::attachment(response.headers_mut(), "summary", of, verdict.as_of);
        }
        let to = (renderer, &self.terms.parts.method);
        write_whole(pool, WholeBody::verbatim(body.into()), self.terms.codings, to, place, response).await
    }

    async fn body(
        &self,
        folded: Folded,
        head: Vec<u8>,
        pool: &CompressionPool,
    ) -> Result<Result<Vec<u8>, TotalsError>, AskError> {
        let Folded { totals, verdict, newest } = folded;
        let groups = verdict.count.min(MOST_GROUPS as u64);
        let work = usize::try_from(groups * USUAL_GROUP).unwrap_or(usize::MAX);
        let format = self.terms.media.format;
        // Rows newer than `as_of` are counted if they are known, so the last group ends with the newest of
        // them.
        let from = self.params.selection.rows.from.unwrap_or(Timestamp::MIN);
        let span = Span::new(from, verdict.as_of.max(newest));
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

/// Distinguishes a response from others about the same rows.
fn form(params: &TotalsParams, format: Format, agents: &[AgentId]) -> String {
    let form = params.totals.form(&params.selection.zone, agents);
    if format == Format::Csv { form_digest(&format!("csv={form}")) } else { form }
}

/// The text of a document before the first member of the totals.
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
    let mut text = open_object(&head);
    text.push(b',');
    text
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
