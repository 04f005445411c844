//! The whole URL space on one page. Paths are exact: nothing after them matches.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get};

use super::access_log::{self, AccessLog};
use super::forward::{self, Forwarding};
use super::problem::{Code, Problem};
use super::{AdminApp, App, admin as probes, console, cors, docs, executions, page, params, status};

/// The public listener.
pub fn public(app: Arc<App>) -> Router {
    let access_log = AccessLog::public(app.observer.clone(), app.waiting.clone());
    let forwarding = app.forwarded.as_ref().map_or(Forwarding::None, |forwarded| forwarded.forwarding());
    let cors = cors::layer(&app.settings.cors_origins, forwarding);
    let router = if app.has_console { console::routes() } else { Router::new() };
    let router = router
        .route("/agents/{agents}/executions/all", get(executions::all))
        .route("/agents/{agents}/executions/changes", get(executions::changes))
        .route("/agents/{agents}/executions/summary", get(executions::summary))
        .route("/v2/agent/{agent_id}/executions", get(page::page))
        .route("/status", get(status::status))
        .route("/openapi.yaml", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route(docs::SCRIPT_PATH, get(docs::script))
        .fallback(forward::forward)
        .method_not_allowed_fallback(another_method)
        .with_state(app);
    // Requests refused by CORS are logged too.
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
    .layer(from_fn_with_state(access_log, access_log::middleware))
}

/// The admin listener.
pub fn admin(app: Arc<AdminApp>) -> Router {
    Router::new()
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .route("/agents/{agent_id}", delete(probes::forget))
        .fallback(nothing_here)
        .method_not_allowed_fallback(another_method)
        .with_state(app)
        .layer(from_fn_with_state(AccessLog::admin(), access_log::middleware))
}

async fn nothing_here() -> Problem {
    params::nothing_here()
}

async fn another_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the path does not support this method; `Allow` lists those it does")
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
