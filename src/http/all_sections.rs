//! `GET /agents/{agents}/executions/all` for several agents: one section per agent.
//!
//! A section is made like the response about one agent ([`super::all`]); this module puts sections together.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};
use http::header;
use tokio::time::Instant;

use super::App;
use super::all::{AllRequest, Delivery, write_whole};
use super::authorized::{AuthorizedAgents, section_problem};
use super::body::{
    BodySection, Event, SectionEvent, StreamEnd, Streamed, WholeBody, envelope, section_line,
    sections_end_record,
};
use super::negotiate::set_coding;
use super::places::ResponsePlace;
use super::present::{self, HeaderState};
use super::problem::{ErrorRenderer, Problem};
use super::projection::{self, Projection};
use super::question::Format;
use super::recheck::Recheck;
use super::response_terms::{ResponseTerms, unknown_length};
use crate::domain::{AgentId, EntrySlice};
use crate::encode::{CompressionPool, Framing};
use crate::engine::{
    Answer, AskError, ByteLimit, Collected, HeldMemory, Question, RowNeed, SectionAgents, SectionError,
    SectionItem, SectionOutcome, SectionVerdict, Sections, SectionsVerdict, Verdict, VerdictFirst,
};
use crate::shutdown::Shutdown;

/// Responds to a request that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedAgents,
    mut wanted: AllRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let by = Instant::now() + wanted.terms.longest_wait();
    let agents = authorized.sections(&app, &wanted.terms.directives, by).await?;
    wanted.terms.about_agents(&agents.agents);
    // Each section has its own agent.
    let question = wanted.question(&authorized.about(NOBODY));
    let request = SectionsRequest { app, authorized, agents, wanted };
    match request.wanted.delivery {
        Delivery::Collected => request.whole(question, place).await,
        Delivery::Streamed => request.stream(question, place).await,
    }
}

/// Replaces the agent in a question about several agents.
pub(super) const NOBODY: AgentId = AgentId::new(uuid::Uuid::nil());

/// A request for the rows of these agents.
struct SectionsRequest {
    app: Arc<App>,
    authorized: AuthorizedAgents,
    agents: SectionAgents,
    wanted: AllRequest,
}

/// All sections of a collected response.
struct CollectedSections {
    verdict: SectionsVerdict,
    rows: Vec<Vec<EntrySlice>>,
    held: Vec<HeldMemory>,
}

impl SectionsRequest {
    async fn whole(self, question: Question, place: ResponsePlace) -> Result<Response, Problem> {
        let Self { app, authorized, wanted, .. } = &self;
        let mut collected = self.collect(question.clone()).await?;
        if let Some(response) = wanted.terms.not_modified(&collected.verdict.whole, &authorized.request_log) {
            return Ok(response);
        }
        let has_bytes = collected.rows.iter().flatten().all(|slice| slice.entry.has_bytes());
        if !has_bytes && !wanted.terms.is_head() {
            drop(collected);
            collected = self.collect(Question { need: RowNeed::Bytes, ..question }).await?;
        }
        let CollectedSections { verdict, rows, held } = collected;
        authorized.request_log.note_verdict(&verdict.whole);
        let mut response = wanted.terms.response(HeaderState::Verdict(&verdict.whole), Body::empty());
        let headers = response.headers_mut();
        if wanted.terms.media.format != Format::Ndjson {
            present::total_count(headers, verdict.whole.total);
        }
        if wanted.terms.media.format == Format::Csv {
            present::attachment(headers, "executions", &authorized.agents.file_name(), verdict.whole.as_of);
        }
        if !wanted.terms.is_head() {
            authorized.request_log.add_rows(verdict.whole.count);
        }
        let whole = WholeBody::of_sections(self.body(&verdict, rows), held);
        let to = (authorized.renderer, &wanted.terms.parts.method);
        write_whole(&app.compression_pool, whole, wanted.terms.codings, to, place, response).await
    }

    /// Takes the rows of all sections in the form in which they are sent.
    async fn collect(&self, question: Question) -> Result<CollectedSections, Problem> {
        let Self { app, authorized, agents, .. } = self;
        let sections = app.engine.sections(question, agents.clone());
        let collect = async { Ok(self.take(sections).await) };
        let collected = app.unless_ended(Box::pin(collect)).await;
        let collected = collected.map_err(|error| authorized.renderer.problem(&error))?;
        collected.map_err(|error| authorized.problem(&error))
    }

    async fn take(&self, sections: Sections) -> Result<CollectedSections, SectionError> {
        let limit = ByteLimit::new(self.app.settings.max_json_bytes);
        let with = (self.wanted.projection.clone(), self.app.compression_pool.clone(), limit);
        let mut whole = sections.whole(move |agent, answer| section(with.clone(), agent, answer)).await?;
        let (mut verdicts, mut rows, mut held) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((agent, outcome)) = whole.next().await? {
            let (verdict, slices) = match outcome {
                SectionOutcome::Taken(collected) => {
                    held.push(collected.held);
                    (collected.verdict, collected.slices)
                }
                SectionOutcome::LeftOut(verdict) => (verdict, Vec::new()),
            };
            verdicts.push(SectionVerdict { agent, verdict });
            rows.push(slices);
        }
        Ok(CollectedSections { verdict: whole.verdict(verdicts), rows, held })
    }

    /// The sections in the form in which they are sent, and the text around them.
    fn body(&self, verdict: &SectionsVerdict, rows: Vec<Vec<EntrySlice>>) -> Vec<BodySection> {
        let AuthorizedAgents { renderer, ref request_log, .. } = self.authorized;
        let of = verdict.sections.iter().zip(rows);
        match self.wanted.terms.media.format {
            Format::Json => {
                let mut between = document_head(verdict);
                let mut body = Vec::new();
                for (SectionVerdict { agent, verdict }, slices) in of {
                    let section = BodySection::new(envelope(*agent, verdict, renderer), slices, Bytes::new());
                    let separator = std::mem::replace(&mut between, Bytes::from_static(b",\n"));
                    body.push(BodySection::text(separator));
                    body.push(section);
                }
                let is_empty = body.is_empty();
                body.extend(is_empty.then(|| BodySection::text(between)));
                body.push(BodySection::text(Bytes::from_static(b"]}")));
                body
            }
            Format::Ndjson => {
                let mut body: Vec<_> = of
                    .map(|(section, slices)| BodySection::lines(section_line(section.agent), slices))
                    .collect();
                let end = sections_end_record(verdict, StreamEnd::Reached, renderer, &request_log.request_id);
                body.push(BodySection::text(end));
                body
            }
            Format::Csv => {
                let head =
                    self.wanted.projection.as_ref().map(|table| table.header_line()).unwrap_or_default();
                let framing = Framing::Table { head: Bytes::new() };
                let rows = of.map(|(_, slices)| BodySection::new(framing.clone(), slices, Bytes::new()));
                std::iter::once(BodySection::text(head)).chain(rows).collect()
            }
        }
    }

    async fn stream(self, question: Question, place: ResponsePlace) -> Result<Response, Problem> {
        let Self { app, authorized, wanted, agents } = &self;
        let mut sections = app.engine.sections(question, agents.clone());
        let known = begin(app, authorized, &wanted.terms, &mut sections).await?;
        if let Some(response) =
            known.as_ref().and_then(|verdict| wanted.terms.not_modified(verdict, &authorized.request_log))
        {
            return Ok(response);
        }
        let unknown = HeaderState::Unknown(wanted.terms.prefer.tolerance);
        let state = known.as_ref().map_or(unknown, HeaderState::Verdict);
        let body = if wanted.terms.is_head() {
            unknown_length()
        } else {
            let streamed = Streamed {
                coding: wanted.terms.codings.preferred,
                end_record: wanted.params.end_record,
                renderer: authorized.renderer,
                request_log: Arc::clone(&authorized.request_log),
                compression_pool: app.compression_pool.clone(),
                place,
            };
            let projection = wanted.projection.clone();
            streamed.body(section_events(
                app,
                authorized,
                &agents.agents,
                &wanted.terms,
                projection,
                sections,
            ))
        };
        let mut response = wanted.terms.response(state, body);
        set_coding(&mut response, wanted.terms.codings.preferred);
        Ok(response)
    }
}

/// Begins a stream, and returns the verdict on all sections if it is known before any row is sent.
pub(super) async fn begin(
    app: &App,
    authorized: &AuthorizedAgents,
    terms: &ResponseTerms,
    sections: &mut Sections,
) -> Result<Option<Verdict>, Problem> {
    let is_conditional = terms.parts.headers.contains_key(header::IF_NONE_MATCH);
    let first = if is_conditional { VerdictFirst::Wanted } else { VerdictFirst::IfKnown };
    let begin = async { Ok(sections.begin(first).await) };
    let begun = app.unless_ended(Box::pin(begin)).await;
    begun
        .map_err(|error| authorized.renderer.problem(&error))?
        .map_err(|error| authorized.problem(&error))?;
    Ok(sections.from_cache().map(|verdict| verdict.whole.clone()))
}

/// Reads sections to their end, or until the process must stop or the caller may not read the rest.
pub(super) fn section_events(
    app: &Arc<App>,
    authorized: &AuthorizedAgents,
    agents: &[AgentId],
    terms: &ResponseTerms,
    projection: Option<Arc<Projection>>,
    sections: Sections,
) -> impl Stream<Item = Event> + Send + use<> {
    let about = authorized.about(NOBODY);
    let refused = Recheck::new(app, &about, agents.to_vec(), &terms.parts.headers).refused();
    let run = SectionsRun {
        sections,
        agent: NOBODY,
        shutdown: terms.shutdown(app),
        refused: refused.boxed(),
        projection,
        pool: app.compression_pool.clone(),
        renderer: authorized.renderer,
    };
    // Boxed, because it is moved for every event.
    stream::unfold(Some(Box::new(run)), async |run| {
        let mut run = run?;
        let event = run.step().await?;
        let is_over = matches!(event, Event::Section(SectionEvent::Reached(_) | SectionEvent::Broken(..)));
        Some((event, (!is_over).then_some(run)))
    })
}

/// Takes all rows of a section in the form in which they are sent.
async fn section(
    (projection, pool, limit): (Option<Arc<Projection>>, CompressionPool, ByteLimit),
    agent: AgentId,
    answer: Answer,
) -> Result<Collected, AskError> {
    match projection {
        None => answer.collect_within(&limit).await,
        Some(projection) => projection::collect(&projection, answer, agent, &pool, &limit).await,
    }
}

/// The text before the sections of a document.
fn document_head(verdict: &SectionsVerdict) -> Bytes {
    let total = verdict.whole.total.map_or(String::new(), |total| format!("\"total\":{total},"));
    let (as_of, complete) = (verdict.whole.as_of, verdict.whole.is_complete());
    format!("{{\"as_of\":\"{as_of}\",\"complete\":{complete},{total}\"agents\":[").into()
}

/// A streamed response with sections in progress.
struct SectionsRun {
    sections: Sections,
    /// The agent of the current section.
    agent: AgentId,
    shutdown: Shutdown,
    refused: futures_util::future::BoxFuture<'static, Problem>,
    projection: Option<Arc<Projection>>,
    pool: CompressionPool,
    renderer: ErrorRenderer,
}

impl SectionsRun {
    /// The next event; `None` if rows can't be rewritten, which breaks the body.
    async fn step(&mut self) -> Option<Event> {
        let ending = || self.renderer.problem(&AskError::ShuttingDown);
        if self.shutdown.is_ended() {
            let problem = ending();
            return Some(self.broken(problem));
        }
        // As in a response about one agent: ready rows are sent before the end, and a refusal precedes them.
        let next = tokio::select! {
            biased;
            problem = &mut self.refused => Err(problem),
            next = self.sections.next() => match next {
                Ok(item) => Ok(item),
                Err(SectionError { agent, error }) => Err(section_problem(self.renderer, agent, &error)),
            },
            () = self.shutdown.end_ordered() => Err(ending()),
        };
        match next {
            Ok(Some(SectionItem::Begins(agent))) => {
                self.agent = agent;
                Some(Event::Section(SectionEvent::Begins(agent)))
            }
            Ok(Some(SectionItem::Rows(rows))) => match &self.projection {
                None => Some(Event::Rows(rows)),
                Some(projection) => {
                    projection.apply(rows, self.agent, &self.pool).await.ok().map(Event::Rows)
                }
            },
            Ok(None) => Some(Event::Section(SectionEvent::Reached(Box::new(self.sections.verdict())))),
            Err(problem) => Some(self.broken(problem)),
        }
    }

    fn broken(&self, problem: Problem) -> Event {
        Event::Section(SectionEvent::Broken(Box::new(self.sections.verdict()), Box::new(problem)))
    }
}

#[cfg(test)]
#[path = "sections_tests.rs"]
mod tests;
