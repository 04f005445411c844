//! The middleware of every request: the faults, the key, the rate limit, and the latency.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use tokio::time::Instant;

use super::dice::Dice;
use super::faults::{Fault, SeenRequest};
use super::refusal::Refusal;
use super::settings::{Latency, RetryAfter};
use super::{Simulator, trouble};

/// The number of a request, from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestNumber(pub(super) u64);

/// The middleware around every route.
pub(super) async fn admit(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let inner = &simulator.inner;
    let number = inner.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let seen = SeenRequest { number, path, query };
    let fault = inner.faults.strike(inner.settings.seed, &seen);
    tracing::debug!(number, path = seen.path, query = seen.query, ?fault, "received request {number}");
    let answer = answer(&simulator, number, request, next);
    let response = match fault {
        None => answer.await,
        Some(Fault::Status { status, retry_after }) => {
            Refusal::Status { status, retry_after }.into_response()
        }
        Some(Fault::Reset) => trouble::reset(),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => trouble::html(),
        Some(Fault::ErrorBody) => trouble::error_body(),
        Some(Fault::EmptyPage) => trouble::empty_page(seen.page().unwrap_or(1)),
        Some(Fault::Truncate) => trouble::truncate(answer.await).await,
        Some(Fault::Slow(length)) => trouble::slow(answer.await, length).await,
        Some(Fault::Delay(length)) => {
            tokio::time::sleep(length).await;
            answer.await
        }
    };
    let latency = draw(inner.settings.latency, inner.settings.seed, number);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    response
}

async fn answer(simulator: &Simulator, number: u64, mut request: Request, next: Next) -> Response {
    let (limiter, settings) = (&simulator.inner.limiter, &simulator.inner.settings);
    if !has_key(request.headers()) {
        return Refusal::Key.into_response();
    }
    if let Some(rate) = settings.rate
        && let Err(wait) = limiter.admit(rate, Instant::now())
    {
        let retry_after = (settings.retry_after == RetryAfter::Seconds).then_some(wait);
        return Refusal::Rate { retry_after }.into_response();
    }
    request.extensions_mut().insert(RequestNumber(number));
    next.run(request).await
}

/// Whether a request has a key that looks like one of upstream's. All keys belong to one organization.
fn has_key(headers: &HeaderMap) -> bool {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|value| value.split_once(' ')).is_some_and(|(scheme, key)| {
        let key = key.trim();
        let secret = key.strip_prefix("bn-").or_else(|| key.strip_prefix("sa-"));
        scheme.eq_ignore_ascii_case("bearer") && secret.is_some_and(|secret| !secret.is_empty())
    })
}

fn draw(latency: Latency, seed: u64, request: u64) -> Duration {
    let more = latency.most.saturating_sub(latency.least);
    let micros = u64::try_from(more.as_micros()).unwrap_or(u64::MAX);
    latency.least + Duration::from_micros(Dice::of(&[seed, request, 15]).below(micros.saturating_add(1)))
}
