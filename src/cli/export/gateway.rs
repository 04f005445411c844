//! The gateway that an export reads from: another process over HTTP, or one in this process without a socket.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use reqwest::{Client, Url, redirect, retry};
use serde::Deserialize;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::export::EndError;
use crate::telemetry::with_causes;
use crate::upstream::is_loopback;

/// How long the head of a response may take. No gateway has a longer deadline for its first row.
const HEAD_TIME: Duration = Duration::from_mins(10);

/// The longest silence of a stream. A gateway sends a blank line at least every 15 s.
const SILENCE: Duration = Duration::from_mins(2);

/// How long setting up a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The most bytes of a refusal or status that are read.
const MOST_SMALL_BODY: usize = 64 << 10;

/// A gateway, and the credential for requests to it.
#[derive(Clone)]
pub(super) struct GatewayLink {
    place: GatewayPlace,
    authorization: HeaderValue,
}

#[derive(Clone)]
enum GatewayPlace {
    Remote { client: Client, base: Url },
    Inside(Router),
}

/// A response that has begun.
pub(super) enum GatewayStream {
    Remote(Box<reqwest::Response>),
    Inside(BodyDataStream),
}

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// There was no response.
    #[error("{0}")]
    Unreachable(String),
    /// The gateway refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The response broke off.
    #[error("{0}")]
    Broken(String),
}

/// A response that has no rows.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Option<EndError>,
    /// How long to wait before trying again, if that may help.
    pub(super) retry_after: Option<Duration>,
}

/// The part of the response to `GET /status` that is used here.
#[derive(Debug, Deserialize)]
pub(super) struct GatewayStatus {
    /// Whether upstream can be read.
    pub(super) upstream: String,
    /// The request budget.
    pub(super) budget: GatewayBudget,
}

/// The request budget.
#[derive(Debug, Deserialize)]
pub(super) struct GatewayBudget {
    /// When the next request can be sent.
    pub(super) paused_until: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.as_u16();
        match &self.problem {
            Some(EndError { code, detail, request_id }) => {
                write!(
                    f,
                    "the gateway refused the request with {status} {code}: {detail} (request {request_id})"
                )
            }
            None => {
                write!(f, "the response ({status}) is not from fanfold: is this the address of a gateway?")
            }
        }
    }
}

impl Refusal {
    /// Whether it is a problem with this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.code == code)
    }
}

impl GatewayLink {
    /// Reads through a gateway at this base URL.
    pub(super) fn remote(base: Url, authorization: HeaderValue) -> Result<Self, String> {
        let is_near = base.host_str().is_some_and(is_loopback);
        let mut builder = Client::builder()
            .user_agent(concat!("fanfold/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(CONNECT_TIME)
            // On this machine, compressing costs more than it saves.
            .gzip(!is_near);
        if is_near && base.scheme() == "http" {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| describe(&error))?;
        Ok(Self { place: GatewayPlace::Remote { client, base }, authorization })
    }

    /// Reads through a gateway in this process.
    pub(super) const fn inside(router: Router, authorization: HeaderValue) -> Self {
        Self { place: GatewayPlace::Inside(router), authorization }
    }

    /// Requests a path and query. Returns once a stream of rows has begun.
    pub(super) async fn rows(&self, target: &str) -> Result<GatewayStream, LinkError> {
        let (status, headers, mut stream) = self.get(target).await?;
        let kind =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status == StatusCode::OK && kind.starts_with("application/x-ndjson") {
            return Ok(stream);
        }
        let problem = match kind.starts_with("application/problem+json") {
            true => serde_json::from_slice(&stream.small_body().await).ok(),
            false => None,
        };
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(LinkError::Refused(Refusal { status, problem, retry_after: seconds.map(Duration::from_secs) }))
    }

    /// Requests a small JSON document; `None` if that fails.
    pub(super) async fn document<T: for<'a> Deserialize<'a>>(&self, target: &str) -> Option<T> {
        let (status, _, mut stream) = self.get(target).await.ok()?;
        if status != StatusCode::OK {
            return None;
        }
        serde_json::from_slice(&stream.small_body().await).ok()
    }

    async fn get(&self, target: &str) -> Result<(StatusCode, HeaderMap, GatewayStream), LinkError> {
        let late = |_| LinkError::Unreachable(format!("the gateway did not respond within {HEAD_TIME:?}"));
        match &self.place {
            GatewayPlace::Remote { client, base } => {
                let url = format!("{}{target}", base.as_str().trim_end_matches('/'));
                let request = client.get(url).header(header::AUTHORIZATION, self.authorization.clone());
                let sent = timeout(HEAD_TIME, request.send()).await.map_err(late)?;
                let response = sent.map_err(|error| LinkError::Unreachable(describe(&error)))?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok((status, headers, GatewayStream::Remote(Box::new(response))))
            }
            GatewayPlace::Inside(router) => {
                let request = Request::get(target)
                    .header(header::HOST, "localhost")
                    .header(header::AUTHORIZATION, self.authorization.clone())
                    .body(Body::empty())
                    .map_err(|error| LinkError::Unreachable(error.to_string()))?;
                let answered = timeout(HEAD_TIME, router.clone().oneshot(request)).await.map_err(late)?;
                let Ok(response) = answered;
                let (parts, body) = response.into_parts();
                Ok((parts.status, parts.headers, GatewayStream::Inside(body.into_data_stream())))
            }
        }
    }
}

impl GatewayStream {
    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, LinkError> {
        let late = |_| LinkError::Broken(format!("nothing arrived for {SILENCE:?}"));
        timeout(SILENCE, self.next()).await.map_err(late)?.map_err(LinkError::Broken)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Remote(response) => response.chunk().await.map_err(|error| describe(&error)),
            Self::Inside(body) => body.next().await.transpose().map_err(|error| error.to_string()),
        }
    }

    /// The body of a small document, or as much of it as arrives.
    async fn small_body(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MOST_SMALL_BODY {
                break;
            }
        }
        text
    }
}

/// An error and its causes, without the URL, which contains the user's question.
fn describe(error: &reqwest::Error) -> String {
    let text = match () {
        () if error.is_connect() => "the gateway can't be reached",
        () if error.is_body() || error.is_decode() => "the connection to the gateway broke",
        () => "the request to the gateway failed",
    };
    with_causes(text, error)
}
