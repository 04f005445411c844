use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::problem::Problem;
use super::visit::AgentSegment;
use super::{AdminApp, params};
use crate::telemetry::Exposition;

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// `GET /readyz`: whether new requests should come here. Upstream has no part in it: were it down, every replica would be
/// taken out at once, and with them what they could still answer.
pub(super) async fn ready(State(app): State<Arc<AdminApp>>) -> (StatusCode, &'static str) {
    if app.shutdown.is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<AdminApp>>, headers: HeaderMap) -> Response {
    let accepts: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let exposition = Exposition::accepted_by(&accepts.join(","));
    let about = [(header::CONTENT_TYPE, exposition.media_type()), (header::VARY, "Accept")];
    (about, (app.render_metrics)(exposition)).into_response()
}

/// `DELETE /agents/{agent_id}`: forgets what is kept of an agent.
pub(super) async fn forget(
    State(app): State<Arc<AdminApp>>,
    agent: AgentSegment,
) -> Result<StatusCode, Problem> {
    let agent = params::agent(agent.as_ref().ok().map(|Path(text)| text.as_str()))?;
    app.engine.forget(agent);
    tracing::info!(%agent, "Forgot what was kept of agent {agent}.");
    Ok(StatusCode::NO_CONTENT)
}
