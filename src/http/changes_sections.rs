//! What changed since a cursor over several agents, one section for each agent with changed rows.
//!
//! One comparison covers all of them, so they have one cursor. Sections are made as for `/all`
//! ([`super::all_sections`]); this module puts changed rows together.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::App;
use super::all::{Delivery, write_whole};
use super::all_sections::{NOBODY, begin, section_events};
use super::authorized::{AuthorizedAgents, RequestedAgents, ResponseShape};
use super::body::{BodySection, Streamed, WholeBody, section_line};
use super::changes::ChangesRequest;
use super::changes_body::{FollowedResponse, NoOutcome, changed, changes_head, gone, last_lines};
use super::negotiate::set_coding;
use super::places::ResponsePlace;
use super::present::{self, HeaderState};
use super::problem::Problem;
use super::projection::{self, Projection, applied};
use super::question::{EndRecord, Format};
use super::response_terms::unknown_length;
use crate::domain::{AgentId, EntrySlice};
use crate::encode::{CompressionPool, Framing};
use crate::engine::{
    Answer, AskError, ByteLimit, ChangesOutcome, Collected, Collection, Comparison, FollowedAgents, Gathered,
    HeldMemory, Question, SectionError, SectionOutcome, SectionVerdict, Sections, SectionsVerdict, Tolerance,
};

/// The agents that a cursor is bound to. `all` is one question, even if the agents that it stands for change.
pub(super) fn followed(authorized: &AuthorizedAgents) -> FollowedAgents {
    match &authorized.agents {
        RequestedAgents::One(agent) => FollowedAgents::Some(vec![*agent]),
        RequestedAgents::Named(agents) => FollowedAgents::Some(agents.to_vec()),
        RequestedAgents::AllOfToken(_) => FollowedAgents::AllOf(authorized.caller.id),
        RequestedAgents::AllListed => FollowedAgents::All,
    }
}

/// Responds to a request that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedAgents,
    mut wanted: ChangesRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let by = Instant::now() + wanted.terms.longest_wait();
    let agents = authorized.sections(&app, &wanted.terms.directives, by).await?;
    wanted.terms.about_agents(&agents.agents);
    let comparison = wanted.compare(&app, authorized.caller, authorized.credential.id());
    let delivery = wanted.delivery(comparison.extent());
    let question = wanted.question(&authorized.about(NOBODY), delivery);
    let listed = Arc::clone(&agents.agents);
    let sections = app.engine.sections(question.clone(), agents);
    let request = ChangedSections { app, authorized, agents: listed, wanted, question };
    match delivery {
        Delivery::Collected => request.whole(sections, comparison, place).await,
        Delivery::Streamed => request.stream(sections, comparison, place).await,
    }
}

/// A request for the changed rows of these agents.
struct ChangedSections {
    app: Arc<App>,
    authorized: AuthorizedAgents,
    agents: Arc<[AgentId]>,
    wanted: ChangesRequest,
    question: Question,
}

/// The comparison that all sections of a collected response share; `None` once it has been taken out.
type SharedComparison = Arc<Mutex<Option<Comparison>>>;

impl ChangedSections {
    async fn whole(
        self,
        sections: Sections,
        comparison: Comparison,
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        let Self { app, authorized, wanted, .. } = &self;
        let refused = |error: AskError| authorized.renderer.problem(&error);
        let collect = async { Ok(self.collect(sections, comparison).await) };
        let collected = app.unless_ended(Box::pin(collect)).await.map_err(refused)?;
        let (verdict, rows, comparison) = collected.map_err(|error| authorized.problem(&error))?;
        let log = &authorized.request_log;
        if let Some(response) = wanted.not_modified(app, &comparison, &verdict.whole, log)? {
            return Ok(response);
        }
        log.note_verdict(&verdict.whole);
        let mut response = wanted.terms.response(HeaderState::Verdict(&verdict.whole), Body::empty());
        if wanted.terms.media.format == Format::Json {
            present::total_count(response.headers_mut(), Some(verdict.whole.count));
        }
        if wanted.terms.is_head() {
            *response.body_mut() = unknown_length();
            return Ok(response);
        }
        let outcome = self.followed(comparison).finish(&verdict.whole).await.map_err(|none| match none {
            NoOutcome::Failed(error) => refused(error),
            NoOutcome::Gone => gone(),
        })?;
        let (rows, held): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let sent = rows.iter().flatten().map(|slice| slice.len() as u64).sum();
        log.add_rows(sent);
        let whole = WholeBody::of_sections(self.body(&verdict, rows, &outcome, sent), held);
        let to = (authorized.renderer, &wanted.terms.parts.method);
        write_whole(&app.compression_pool, whole, wanted.terms.codings, to, place, response).await
    }

    fn followed(&self, comparison: Comparison) -> FollowedResponse {
        FollowedResponse {
            app: Arc::clone(&self.app),
            comparison,
            question: self.question.clone(),
            renderer: self.authorized.renderer,
        }
    }

    /// Takes the rows of all sections that the caller does not have, in the form in which they are sent.
    async fn collect(
        &self,
        sections: Sections,
        mut comparison: Comparison,
    ) -> Result<(SectionsVerdict, Vec<(Vec<EntrySlice>, HeldMemory)>, Comparison), SectionError> {
        let failed = |error| SectionError { agent: self.agents.first().copied().unwrap_or(NOBODY), error };
        let held = self.app.engine.new_held(self.authorized.caller.id);
        comparison.hold(held).map_err(|limit| failed(AskError::NoMemory(limit)))?;
        let shared = Arc::new(Mutex::new(Some(comparison)));
        let limit = ByteLimit::new(self.app.settings.max_json_bytes);
        let with = (shared.clone(), self.wanted.projection.clone(), self.app.compression_pool.clone(), limit);
        let mut whole = sections.whole(move |agent, answer| section(with.clone(), agent, answer)).await?;
        let (mut verdicts, mut rows) = (Vec::new(), Vec::new());
        while let Some((agent, outcome)) = whole.next().await? {
            let (verdict, section) = match outcome {
                SectionOutcome::Taken(Collected { slices, verdict, held }) => (verdict, (slices, held)),
                SectionOutcome::LeftOut(verdict) => (verdict, Default::default()),
            };
            verdicts.push(SectionVerdict { agent, verdict });
            rows.push(section);
        }
        let comparison = shared.lock().take().ok_or_else(|| failed(AskError::ShuttingDown))?;
        Ok((whole.verdict(verdicts), rows, comparison))
    }

    /// The sections with changed rows, and the text around them.
    fn body(
        &self,
        verdict: &SectionsVerdict,
        rows: Vec<Vec<EntrySlice>>,
        outcome: &ChangesOutcome,
        sent: u64,
    ) -> Vec<BodySection> {
        let changed = verdict.sections.iter().zip(rows).filter(|(_, slices)| !slices.is_empty());
        if self.wanted.terms.media.format == Format::Ndjson {
            let lines =
                changed.map(|(section, slices)| BodySection::lines(section_line(section.agent), slices));
            let end = last_lines(outcome, sent, &verdict.whole, ResponseShape::Sections);
            return lines.chain([BodySection::text(end)]).collect();
        }
        let since = self.wanted.params.since.as_deref();
        let mut between = changes_head(None, since, outcome, &verdict.whole);
        between.extend_from_slice(b",\"agents\":[");
        let mut body = Vec::new();
        for (SectionVerdict { agent, verdict }, slices) in changed {
            body.push(BodySection::text(std::mem::replace(&mut between, b",\n".to_vec()).into()));
            let (as_of, total) = (verdict.as_of, verdict.count);
            let head =
                format!("{{\"agent_id\":\"{agent}\",\"as_of\":\"{as_of}\",\"total\":{total},\"data\":[");
            body.push(BodySection::new(Framing::Json { head: head.into() }, slices, Bytes::new()));
        }
        let is_empty = body.is_empty();
        body.extend(is_empty.then(|| BodySection::text(between.into())));
        body.push(BodySection::text(Bytes::from_static(b"]}")));
        body
    }

    async fn stream(
        self,
        mut sections: Sections,
        mut comparison: Comparison,
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        let Self { app, authorized, wanted, .. } = &self;
        let refused = |error: AskError| authorized.renderer.problem(&error);
        let known = begin(app, authorized, &wanted.terms, &mut sections).await?;
        let log = &authorized.request_log;
        if let Some(verdict) = &known
            && let Some(response) = wanted.not_modified(app, &comparison, verdict, log)?
        {
            return Ok(response);
        }
        known.iter().for_each(|verdict| comparison.expect(verdict));
        let held = app.engine.new_held(authorized.caller.id);
        comparison.hold(held).map_err(|limit| refused(AskError::NoMemory(limit)))?;
        let state = known.as_ref().map_or(HeaderState::Unknown(Tolerance::Strict), HeaderState::Verdict);
        let body = if wanted.terms.is_head() {
            unknown_length()
        } else {
            let streamed = Streamed {
                coding: wanted.terms.codings.preferred,
                end_record: EndRecord::Wanted,
                renderer: authorized.renderer,
                request_log: Arc::clone(log),
                compression_pool: app.compression_pool.clone(),
                place,
            };
            // Only changed rows are rewritten.
            let events = section_events(app, authorized, &self.agents, &wanted.terms, None, sections);
            let (changed, pool) = (changed(events, self.followed(comparison)), app.compression_pool.clone());
            streamed.body(projection::projected(changed, wanted.projection.clone(), NOBODY, pool))
        };
        let mut response = wanted.terms.response(state, body);
        set_coding(&mut response, wanted.terms.codings.preferred);
        Ok(response)
    }
}

/// Takes the rows of a section that the caller does not have, in the form in which they are sent.
async fn section(
    (shared, projection, pool, limit): (
        SharedComparison,
        Option<Arc<Projection>>,
        CompressionPool,
        ByteLimit,
    ),
    agent: AgentId,
    mut answer: Answer,
) -> Result<Collected, AskError> {
    let mut collection = Collection::new(&limit, answer.new_held());
    let compare = |compare: &dyn Fn(&mut Comparison) -> Result<Option<EntrySlice>, AskError>| {
        shared.lock().as_mut().map_or(Err(AskError::ShuttingDown), compare)
    };
    compare(&|comparison| {
        comparison.section(agent);
        Ok(None)
    })?;
    while let Some(gathered) = answer.gather().await? {
        match gathered {
            Gathered::Rows(slice) => {
                let take = |comparison: &mut Comparison| {
                    comparison.take(agent, slice.clone()).map_err(AskError::NoMemory)
                };
                let Some(slice) = compare(&take)? else { continue };
                collection.push(applied(projection.as_ref(), slice, agent, &pool).await?)?;
            }
            Gathered::Restarted => {
                collection.restart(answer.new_held());
                compare(&|comparison| {
                    comparison.restart(agent);
                    Ok(None)
                })?;
            }
        }
    }
    Ok(collection.finish(answer.verdict()))
}
