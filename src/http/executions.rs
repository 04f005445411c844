//! The handlers of `/agents/{agents}/executions/…`: who asks about which agents, and whether the response has sections.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;

use super::App;
use super::all::{self, AllRequest};
use super::authorized::{AgentSegment, AuthorizedAgents, RequestedAgents};
use super::changes::{self, ChangesRequest};
use super::problem::Problem;
use super::summary::{self, SummaryRequest};
use super::{all_sections, changes_sections, summary_sections};

/// All rows.
pub(super) async fn all(
    State(app): State<Arc<App>>,
    agents: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    // The router moves a handler's future about a few times on its way; in a box only the box moves.
    Box::pin(rows(app, agents, parts)).await
}

async fn rows(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let wanted = AllRequest::read(parts, app.settings.request_deadline, authorized.agents.shape())?;
    match authorized.agents {
        RequestedAgents::One(agent) => all::answer(app, authorized.about(agent), wanted).await,
        RequestedAgents::Named(_) | RequestedAgents::AllOfToken(_) | RequestedAgents::AllListed => {
            all_sections::answer(app, authorized, wanted).await
        }
    }
}

/// Totals without rows.
pub(super) async fn summary(
    State(app): State<Arc<App>>,
    agents: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Box::pin(totals(app, agents, parts)).await
}

async fn totals(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let wanted = SummaryRequest::read(parts, app.settings.request_deadline)?;
    match authorized.agents {
        RequestedAgents::One(agent) => summary::answer(app, authorized.about(agent), wanted).await,
        RequestedAgents::Named(_) | RequestedAgents::AllOfToken(_) | RequestedAgents::AllListed => {
            summary_sections::answer(app, authorized, wanted).await
        }
    }
}

/// What changed since a cursor.
pub(super) async fn changes(
    State(app): State<Arc<App>>,
    agents: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Box::pin(changed_rows(app, agents, parts)).await
}

async fn changed_rows(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let (followed, wait) = (changes_sections::followed(&authorized), app.settings.request_deadline);
    let wanted = ChangesRequest::read(parts, &authorized.credential, followed, wait)?;
    match authorized.agents {
        RequestedAgents::One(agent) => changes::answer(app, authorized.about(agent), wanted).await,
        RequestedAgents::Named(_) | RequestedAgents::AllOfToken(_) | RequestedAgents::AllListed => {
            changes_sections::answer(app, authorized, wanted).await
        }
    }
}
