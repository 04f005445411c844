//! The middleware of every request: its number, the faults, the key, the rate limit, and the latency.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use tokio::time::Instant;

use super::dice::Dice;
use super::faults::{Fault, page_of};
use super::log::SeenRequest;
use super::refusal::Refusal;
use super::settings::{Latency, RetryAfter};
use super::{Simulator, trouble};

/// The middleware around every route.
pub(super) async fn admit(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let inner = &simulator.inner;
    let seen = seen(inner.requests.fetch_add(1, Ordering::Relaxed) + 1, &request);
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
    if !seen.key.as_deref().is_some_and(is_key) {
        return Refusal::Key.into_response();
    }
    if let Some(rate) = inner.rate
        && let Err(wait) = inner.limiter.admit(rate, Instant::now())
    {
        let retry_after = (inner.retry_after == RetryAfter::Seconds).then_some(wait);
        return Refusal::Rate { retry_after }.into_response();
    }
    request.extensions_mut().insert(seen);
    next.run(request).await
}

fn seen(number: u64, request: &Request) -> SeenRequest {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    });
    SeenRequest {
        number,
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        key,
    }
}

/// Whether a key looks like upstream's (`bn-…`, `sa-…`): all of these are valid.
fn is_key(key: &str) -> bool {
    let secret = key.strip_prefix("bn-").or_else(|| key.strip_prefix("sa-"));
    secret.is_some_and(|secret| !secret.is_empty())
}

fn draw(latency: Latency, seed: u64, request: u64) -> Duration {
    let more = latency.most.saturating_sub(latency.least);
    let micros = u64::try_from(more.as_micros()).unwrap_or(u64::MAX);
    latency.least + Duration::from_micros(Dice::of(&[seed, request, 15]).below(micros.saturating_add(1)))
}
