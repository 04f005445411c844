//! The handlers of `/agents/{agents}/executions/…`: they authorize the request, and choose whether the
//! response has sections.

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
    // The router moves a handler's future a few times; a box makes that cheap.
    Box::pin(rows(app, agents, request.into_parts().0)).await
}

async fn rows(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let wanted = AllRequest::read(parts, app.settings.request_deadline, authorized.agents.shape())?;
    if let RequestedAgents::One(agent) = authorized.agents {
        return all::answer(app, authorized.about(agent), wanted).await;
    }
    all_sections::answer(app, authorized, wanted).await
}

/// Totals without rows.
pub(super) async fn summary(
    State(app): State<Arc<App>>,
    agents: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(totals(app, agents, request.into_parts().0)).await
}

async fn totals(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let wanted = SummaryRequest::read(parts, app.settings.request_deadline)?;
    if let RequestedAgents::One(agent) = authorized.agents {
        return summary::answer(app, authorized.about(agent), wanted).await;
    }
    summary_sections::answer(app, authorized, wanted).await
}

/// What changed since a cursor.
pub(super) async fn changes(
    State(app): State<Arc<App>>,
    agents: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(changed_rows(app, agents, request.into_parts().0)).await
}

async fn changed_rows(app: Arc<App>, agents: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedAgents::begin(&app, &agents, &parts).await?;
    let (followed, wait) = (changes_sections::followed(&authorized), app.settings.request_deadline);
    let wanted = ChangesRequest::read(parts, &authorized.credential, followed, wait)?;
    if let RequestedAgents::One(agent) = authorized.agents {
        return changes::answer(app, authorized.about(agent), wanted).await;
    }
    changes_sections::answer(app, authorized, wanted).await
}
