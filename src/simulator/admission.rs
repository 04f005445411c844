//! The middleware of every request: the log, the faults, the key, the rate limit, and the latency.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use tokio::time::Instant;

use super::dice::Dice;
use super::faults::{Fault, page_of};
use super::log::SeenRequest;
use super::refusal::Refusal;
use super::settings::{Keys, Latency, RetryAfter};
use super::{Simulator, trouble};
use crate::domain::AgentId;

/// The caller, as the handlers see it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The request.
    pub(super) request: Arc<SeenRequest>,
    organization: String,
    agents: Option<Vec<AgentId>>,
}

impl Caller {
    /// Whether the key sees an agent.
    pub(super) fn sees(&self, agent: AgentId) -> bool {
        self.agents.as_ref().is_none_or(|agents| agents.contains(&agent))
    }

    /// Whose key it is.
    pub(super) fn organization(&self) -> &str {
        &self.organization
    }
}

/// The middleware around every route.
pub(super) async fn admit(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let inner = &simulator.inner;
    let (seen, _in_flight) = inner.log.begin(inner.log_capacity, seen(&request));
    let fault = inner.faults.strike(inner.seed, &seen);
    let latency = draw(inner.latency, inner.seed, seen.number);
    let number = seen.number;
    tracing::debug!(number, path = seen.path, query = seen.query, ?fault, "received request {number}");
    let page_number = page_of(&seen).unwrap_or(1);
    let answer = answer(&simulator, seen, request, next);
    let response = match fault {
        None => answer.await,
        Some(Fault::Status { status, retry_after }) => {
            Refusal::Status { status, retry_after }.into_response()
        }
        Some(Fault::Reset) => trouble::reset(),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => trouble::html(),
        Some(Fault::ErrorBody) => trouble::error_body(),
        Some(Fault::EmptyPage) => trouble::empty_page(page_number),
        Some(Fault::Truncate) => trouble::truncate(answer.await).await,
        Some(Fault::Slow(length)) => trouble::slow(answer.await, length).await,
        Some(Fault::Delay(length)) => {
            tokio::time::sleep(length).await;
            answer.await
        }
        Some(Fault::Hold(gate)) => {
            gate.pass().await;
            answer.await
        }
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    response
}

async fn answer(simulator: &Simulator, seen: SeenRequest, mut request: Request, next: Next) -> Response {
    let inner = &simulator.inner;
    let Some(caller) = identify(&inner.keys, seen) else { return Refusal::Key.into_response() };
    if let Some(rate) = inner.rate
        && let Err(wait) = inner.limiter.admit(caller.organization(), rate, Instant::now())
    {
        let retry_after = (inner.retry_after == RetryAfter::Seconds).then_some(wait);
        return Refusal::Rate { retry_after }.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn seen(request: &Request) -> SeenRequest {
    let header = |name| text(request.headers(), name).map(str::to_owned);
    let key = header(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    });
    SeenRequest {
        number: 0,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        key,
        traceparent: header(http::HeaderName::from_static("traceparent")),
        at: Instant::now(),
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn identify(keys: &Keys, seen: SeenRequest) -> Option<Caller> {
    let key = seen.key.as_deref()?;
    let (organization, agents) = match keys {
        Keys::Any => {
            let secret = key.strip_prefix("bn-").or_else(|| key.strip_prefix("sa-"))?;
            (!secret.is_empty()).then(|| ("simulated".to_owned(), None))?
        }
        Keys::Only(accepted) => {
            let found = accepted.iter().find(|accepted| accepted.key == key)?;
            (found.organization.clone(), found.agents.clone())
        }
    };
    Some(Caller { request: Arc::new(seen), organization, agents })
}

fn draw(latency: Latency, seed: u64, request: u64) -> Duration {
    let more = latency.most.saturating_sub(latency.least);
    let micros = u64::try_from(more.as_micros()).unwrap_or(u64::MAX);
    latency.least + Duration::from_micros(Dice::of(&[seed, request, 15]).below(micros.saturating_add(1)))
}
