use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::problem::Problem;
use super::visit::AgentSegment;
use super::{AdminApp, params};

/// What prometheus-client writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
pub(super) async fn metrics(State(app): State<Arc<AdminApp>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], (app.render_metrics)()).into_response()
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
