//! Totals over several agents: one set of groups, and each agent's part of it.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::App;
use super::all_sections::NOBODY;
use super::authorized::AuthorizedAgents;
use super::body::{MissingPart, missing, open_object};
use super::problem::{ErrorRenderer, Problem};
use super::summary::{SummaryRequest, too_large};
use super::summary_fold::Folded;
use crate::domain::Timestamp;
use crate::engine::{SectionError, SectionOutcome, SectionVerdict, Sections, SectionsVerdict};
use crate::shape::totals::TotalsError;

/// Responds to a request that was parsed and authorized.
pub(super) async fn answer(
    app: Arc<App>,
    authorized: AuthorizedAgents,
    mut wanted: SummaryRequest,
) -> Result<Response, Problem> {
    authorized.request_log.note_format(wanted.terms.media.format);
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let by = Instant::now() + wanted.terms.longest_wait();
    let agents = authorized.sections(&app, &wanted.terms.directives, by).await?;
    wanted.about_agents(&agents.agents);
    let of = authorized.agents.file_name();
    let sections = app.engine.sections(wanted.question(&authorized.about(NOBODY)), agents);
    let fold = async { Ok(fold(&wanted, sections, &app).await) };
    let folded = app.unless_ended(Box::pin(fold)).await;
    let folded = folded.map_err(|error| authorized.renderer.problem(&error))?;
    let folded = folded.map_err(|error| authorized.problem(&error))?.map_err(too_large)?;
    let (folded, verdict) = folded;
    if let Some(response) = wanted.terms.not_modified(&verdict.whole, &authorized.request_log) {
        return Ok(response);
    }
    let head = head(&verdict, authorized.renderer);
    wanted.present(folded, head, &of, (&app, authorized.renderer, &authorized.request_log), place).await
}

/// Adds up the rows of all agents.
async fn fold(
    wanted: &SummaryRequest,
    sections: Sections,
    app: &App,
) -> Result<Result<(Folded, SectionsVerdict), TotalsError>, SectionError> {
    let own = (wanted.fold.clone(), app.compression_pool.clone());
    let take = move |agent, answer| {
        let (fold, pool) = own.clone();
        async move { fold.fold(answer, agent, &pool).await }
    };
    let mut whole = sections.whole(take).await?;
    let (mut totals, mut newest, mut verdicts) = (wanted.fold.none(), Timestamp::MIN, Vec::new());
    while let Some((agent, outcome)) = whole.next().await? {
        let verdict = match outcome {
            SectionOutcome::Taken(Err(error)) => return Ok(Err(error)),
            SectionOutcome::Taken(Ok(section)) => {
                if let Err(error) = totals.merge(&section.totals) {
                    return Ok(Err(error));
                }
                newest = newest.max(section.newest);
                section.verdict
            }
            SectionOutcome::LeftOut(verdict) => verdict,
        };
        verdicts.push(SectionVerdict { agent, verdict });
    }
    let verdict = whole.verdict(verdicts);
    Ok(Ok((Folded { totals, verdict: verdict.whole.clone(), newest }, verdict)))
}

/// The text of a document before the first member of the totals.
fn head(verdict: &SectionsVerdict, renderer: ErrorRenderer) -> Vec<u8> {
    #[derive(Serialize)]
    struct SectionsHead {
        as_of: String,
        complete: bool,
        agents: Vec<SectionTotal>,
    }
    #[derive(Serialize)]
    struct SectionTotal {
        agent_id: String,
        as_of: String,
        complete: bool,
        total: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<MissingPart>,
    }
    let section = |SectionVerdict { agent, verdict }: &SectionVerdict| SectionTotal {
        agent_id: agent.to_string(),
        as_of: verdict.as_of.to_string(),
        complete: verdict.is_complete(),
        total: verdict.count,
        missing: missing(&verdict.missing, renderer),
    };
    let head = SectionsHead {
        as_of: verdict.whole.as_of.to_string(),
        complete: verdict.whole.is_complete(),
        agents: verdict.sections.iter().map(section).collect(),
    };
    let mut text = open_object(&head);
    text.push(b',');
    text
}
