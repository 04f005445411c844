//! The gateway that an export reads from: another process over HTTP, or one in this process without a socket.

use std::error::Error as _;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use reqwest::{Client, Url, redirect, retry};
use serde::Deserialize;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::export::EndError;
use crate::upstream::is_loopback;

/// How long the head of a response may take: any deadline that a gateway has for its first row is shorter.
const HEAD_TIME: Duration = Duration::from_mins(10);

/// The longest silence of a stream: a gateway sends a blank line every 15 s.
const SILENCE: Duration = Duration::from_mins(2);

/// How long setting up a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How much of a refusal is read.
const MOST_REFUSAL: usize = 64 << 10;

/// A gateway, and the credential to ask it with. Clones are one and the same.
#[derive(Clone)]
pub(super) struct GatewayLink {
    way: Way,
    authorization: HeaderValue,
}

#[derive(Clone)]
enum Way {
    Remote { client: Client, base: Url },
    Inside(Router),
}

/// A response that has begun.
pub(super) struct GatewayStream {
    body: StreamBody,
}

enum StreamBody {
    Remote(Box<reqwest::Response>),
    Inside(Body),
}

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// No response came.
    #[error("{0}")]
    Unreachable(String),
    /// The gateway refuses the request.
    #[error("{}", .0)]
    Refused(Refusal),
    /// It broke off.
    #[error("{0}")]
    Broken(String),
}

/// What a gateway says instead of rows.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Option<EndError>,
    /// When asking again may help.
    pub(super) retry_after: Option<Duration>,
}

/// What `GET /status` says, as far as it is of use here.
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
    /// Whether it is a problem of this kind.
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
            // On this machine, compressing costs more than the bytes.
            .gzip(!is_near);
        if is_near && base.scheme() == "http" {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| describe(&error))?;
        Ok(Self { way: Way::Remote { client, base }, authorization })
    }

    /// Reads through a gateway in this process.
    pub(super) const fn inside(router: Router, authorization: HeaderValue) -> Self {
        Self { way: Way::Inside(router), authorization }
    }

    /// Requests a path and query. Returns once a stream of rows begins.
    pub(super) async fn rows(&self, target: &str) -> Result<GatewayStream, LinkError> {
        let (status, headers, mut stream) = self.get(target).await?;
        let kind =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status == StatusCode::OK && kind.starts_with("application/x-ndjson") {
            return Ok(stream);
        }
        let problem = match kind.starts_with("application/problem+json") {
            true => serde_json::from_slice(&stream.beginning().await).ok(),
            false => None,
        };
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(LinkError::Refused(Refusal { status, problem, retry_after: seconds.map(Duration::from_secs) }))
    }

    /// Requests a small JSON document; none if there is none.
    pub(super) async fn document<T: for<'a> Deserialize<'a>>(&self, target: &str) -> Option<T> {
        let (status, _, mut stream) = self.get(target).await.ok()?;
        if status != StatusCode::OK {
            return None;
        }
        serde_json::from_slice(&stream.beginning().await).ok()
    }

    async fn get(&self, target: &str) -> Result<(StatusCode, HeaderMap, GatewayStream), LinkError> {
        let late = |_| LinkError::Unreachable(format!("the gateway did not respond within {HEAD_TIME:?}"));
        match &self.way {
            Way::Remote { client, base } => {
                let url = format!("{}{target}", base.as_str().trim_end_matches('/'));
                let request = client.get(url).header(header::AUTHORIZATION, self.authorization.clone());
                let sent = timeout(HEAD_TIME, request.send()).await.map_err(late)?;
                let response = sent.map_err(|error| LinkError::Unreachable(describe(&error)))?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok((status, headers, GatewayStream { body: StreamBody::Remote(Box::new(response)) }))
            }
            Way::Inside(router) => {
                let request = Request::get(target)
                    .header(header::HOST, "localhost")
                    .header(header::AUTHORIZATION, self.authorization.clone())
                    .body(Body::empty())
                    .map_err(|error| LinkError::Unreachable(error.to_string()))?;
                let answered = timeout(HEAD_TIME, router.clone().oneshot(request)).await.map_err(late)?;
                let Ok(response) = answered;
                let (parts, body) = response.into_parts();
                Ok((parts.status, parts.headers, GatewayStream { body: StreamBody::Inside(body) }))
            }
        }
    }
}

impl GatewayStream {
    /// The next bytes; none at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, LinkError> {
        let late = |_| LinkError::Broken(format!("nothing arrived for {SILENCE:?}"));
        timeout(SILENCE, self.body.chunk()).await.map_err(late)?.map_err(LinkError::Broken)
    }

    /// What a small document holds, as far as it comes.
    async fn beginning(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MOST_REFUSAL {
                break;
            }
        }
        text
    }
}

impl StreamBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Remote(response) => response.chunk().await.map_err(|error| describe(&error)),
            Self::Inside(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }
}

/// An error and what caused it, without the URL: the question is the user's own.
fn describe(error: &reqwest::Error) -> String {
    let mut text = match () {
        () if error.is_connect() => "the gateway can't be reached".to_owned(),
        () if error.is_body() || error.is_decode() => "the connection to the gateway broke".to_owned(),
        () => "the request to the gateway failed".to_owned(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
