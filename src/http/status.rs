//! `GET /status`: what the gateway can do now, for a caller that waits for rows.
//!
//! Served to every valid credential. A token is checked here. A key must have been accepted by upstream
//! within the last minute; otherwise upstream is asked with `GET /user/me`, which counts in the budget.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::time::Instant;

use super::App;
use super::authorized::{Authenticated, authenticate};
use super::params::Params;
use super::problem::{ErrorStyle, KeyOwner, Problem};
use crate::source::{RemainingBudget, SourceHealth, SourceOutlook};
use crate::tier::{TierKind, TierStatus};

/// The longest wait for the check of a key: after that, the response would be outdated.
const PROOF_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct StatusDocument {
    version: &'static str,
    started_at: String,
    upstream: &'static str,
    budget: BudgetMember,
    ttl_stretch: f64,
    questions: usize,
    tier: TierMember,
}

/// Everything but `paused_until` is null without a limit.
#[derive(Debug, Serialize)]
struct BudgetMember {
    limit: Option<u32>,
    period: Option<String>,
    left: Option<usize>,
    paused_until: Option<String>,
}

#[derive(Debug, Serialize)]
struct TierMember {
    kind: &'static str,
    state: &'static str,
}

impl TierMember {
    fn of(status: Option<TierStatus>) -> Self {
        // Rows are kept in memory only.
        let Some(TierStatus { kind, is_ok }) = status else {
            return Self { kind: "none", state: "ok" };
        };
        let kind = match kind {
            TierKind::Directory => "directory",
            TierKind::Redis => "redis",
        };
        Self { kind, state: if is_ok { "ok" } else { "away" } }
    }
}

/// The handler.
pub(super) async fn status(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Box::pin(answer(app, parts)).await
}

async fn answer(app: Arc<App>, parts: Parts) -> Result<Response, Problem> {
    let Authenticated { caller, counted, request_log } = authenticate(&app, &parts).await?;
    Params::read(parts.uri.query())?.finish(&[])?;
    let credential = caller.credential();
    match caller.key() {
        KeyOwner::Held => {}
        KeyOwner::Callers => {
            let by = Instant::now() + PROOF_TIME.min(app.settings.request_deadline);
            let proof = app.engine.prove_key(counted, credential, by, request_log.trace.clone());
            let renderer = caller.renderer(ErrorStyle::Own);
            app.unless_ended(Box::pin(proof)).await.map_err(|error| renderer.problem(&error))?;
        }
    }
    let outlook = app.engine.outlook(credential.id(), counted);
    let now = app.engine.now();
    let document = StatusDocument {
        version: env!("CARGO_PKG_VERSION"),
        started_at: app.started_at.to_string(),
        upstream: health(&outlook),
        budget: BudgetMember {
            limit: outlook.budget.map(|budget| budget.limit),
            period: outlook.budget.map(period),
            left: outlook.budget.map(|budget| budget.left),
            paused_until: outlook.paused_for.map(|pause| now.plus(pause).to_string()),
        },
        ttl_stretch: (app.engine.stretch_of(counted.id) * 100.0).round() / 100.0,
        questions: app.questions_under_way(),
        tier: TierMember::of(app.engine.tier()),
    };
    // Numbers and text only: serialization can't fail.
    let mut response = Response::new(Body::from(serde_json::to_vec(&document).unwrap_or_default()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

const fn health(outlook: &SourceOutlook) -> &'static str {
    match outlook.health {
        SourceHealth::Ok => "ok",
        SourceHealth::Limited => "limited",
        SourceHealth::Down => "down",
    }
}

/// A length as settings write it.
fn period(budget: RemainingBudget) -> String {
    match budget.period.subsec_millis() {
        0 => format!("{}s", budget.period.as_secs()),
        _ => format!("{}ms", budget.period.as_millis()),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
