use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::authorized::AgentSegment;
use super::problem::{Code, Problem};
use super::{AdminApp, params};
use crate::telemetry::Exposition;

/// How long metrics and purges may wait for the engine.
const ENGINE_TIME: Duration = Duration::from_secs(10);

/// `GET /livez`: succeeds while the engine makes progress.
pub(super) async fn live(State(app): State<Arc<AdminApp>>) -> (StatusCode, &'static str) {
    if app.pulse.is_stalled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled\n")
    } else {
        (StatusCode::OK, "live\n")
    }
}

/// `GET /readyz`: whether the process accepts new requests. Does not depend on upstream: if upstream failed,
/// every replica would be taken out at once, including the responses that they could still serve.
pub(super) async fn ready(State(app): State<Arc<AdminApp>>) -> (StatusCode, &'static str) {
    if app.shutdown.is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(app): State<Arc<AdminApp>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepts: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let exposition = Exposition::accepted_by(&accepts.join(","));
    let about = [(header::CONTENT_TYPE, exposition.media_type()), (header::VARY, "Accept")];
    let text = on_blocking_thread(move || (app.render_metrics)(exposition)).await?;
    Ok((about, text).into_response())
}

/// `DELETE /agents/{agent_id}`: drops everything cached of an agent, here and in the tier.
pub(super) async fn forget(
    State(app): State<Arc<AdminApp>>,
    agent: AgentSegment,
) -> Result<StatusCode, Problem> {
    let agent = params::agent(agent.as_ref().ok().map(|Path(text)| text.as_str()))?;
    let marked = on_blocking_thread(move || {
        if let Some(forwarded) = &app.forwarded {
            forwarded.forget();
        }
        tokio::runtime::Handle::current().block_on(app.engine.forget(agent))
    });
    if marked.await?.is_err() {
        let detail = "what this process held of the agent is dropped, but the tier could not record the purge; try again";
        return Err(Problem::new(Code::TierUnavailable, detail));
    }
    tracing::info!(target: "fanfold::cache", %agent, "Dropped the cached data of agent {agent}.");
    Ok(StatusCode::NO_CONTENT)
}

/// Runs work that takes the engine's locks on another thread, so that a held lock can't block the probes.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    match tokio::time::timeout(ENGINE_TIME, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Problem::new(Code::ShuttingDown, error.to_string())),
        Err(_) => Err(Problem::new(Code::Overloaded, "the engine makes no progress")),
    }
}
