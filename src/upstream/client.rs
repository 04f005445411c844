//! Makes one attempt over HTTP, and bounds what is sent, how long to wait, and how much of a response is
//! read.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use reqwest::{Certificate, Client, Response, Url, redirect, retry};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::clock::SteadyClock;
use crate::domain::Credential;
use crate::source::{Trace, UpstreamWords};
use crate::telemetry::with_causes;

use super::clock::Exchange;
use super::settings::{UpstreamSettings, UpstreamSetupError};
use super::{error_body, retry_after};

/// The largest accepted page, decoded: more than half a megabyte for each of its rows, and some 150 times a
/// page of large rows. A body that decompresses to more is stopped while it is decompressed.
const MOST_BODY: usize = 32 << 20;

/// From this size on, a body needs one of the few places for large bodies: twice a page of the largest rows
/// seen.
///
/// Together with [`LARGE_BODIES`] this bounds the memory of bodies being read, whatever upstream sends: 128
/// MiB for 32 connections, and another 64 MiB plus growth for large bodies.
const LARGE_BODY: usize = 4 << 20;

/// How many large bodies are read at a time.
const LARGE_BODIES: usize = 2;

/// How much of an error response is read for its message.
const MOST_REFUSAL: usize = 64 << 10;

/// How long an idle connection is kept.
///
/// Shorter than the idle timeouts of common load balancers (60 s at AWS, 50 s to 75 s in the examples for
/// haproxy and nginx), so that this side closes first, never the other side while a request is on its way.
pub(super) const IDLE: Duration = Duration::from_secs(20);

/// How long setting up a connection may take: three lost packets on the way around the world.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How often an HTTP/2 connection with requests in flight is pinged, and how long the reply may take.
const PING: Duration = Duration::from_secs(5);

const USER_AGENT: &str = concat!("fanfold/", env!("CARGO_PKG_VERSION"));

/// Sends requests to upstream over HTTP.
#[derive(Debug)]
pub(super) struct HttpClient {
    settings: UpstreamSettings,
    clock: SteadyClock,
    /// The shared client, and which set of connections it has.
    client: Mutex<(Client, Pool)>,
    /// A client that never reuses a connection, created when it is first needed.
    alone: OnceLock<Client>,
    large_bodies: Arc<Semaphore>,
}

/// A generation of shared connections, distinguished from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool(u64);

/// The request of one attempt.
#[derive(Debug)]
pub(super) struct AttemptRequest<'a> {
    pub(super) url: Url,
    pub(super) credential: &'a Credential,
    pub(super) trace: &'a Trace,
    pub(super) way: ConnectionChoice,
}

/// Which connection to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionChoice {
    /// A reused connection, if there is one.
    Shared,
    /// A new connection, so that no other request's response can be on it.
    Alone,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The response's `Date`, in microseconds since 1970.
    pub(super) date: Option<i64>,
    pub(super) retry_after: Option<Duration>,
    pub(super) exchange: Exchange,
    /// The connections that it came from.
    pub(super) pool: Pool,
    response: Response,
    large_bodies: Arc<Semaphore>,
}

/// Why an attempt has no response.
#[derive(Debug)]
pub(super) enum Broken {
    /// No connection could be made, so upstream can't have seen the request.
    Connect(String),
    /// The connection ended before any byte of a response, as a connection that was idle for too long does.
    BeforeAnswer(String),
    /// The connection ended, or the content coding broke, within a response.
    WithinAnswer(String),
    /// The body is larger than [`MOST_BODY`].
    TooLarge,
    /// The key is not a valid header value.
    Unsendable,
}

impl HttpClient {
    /// Sets up the HTTP client.
    ///
    /// # Errors
    /// [`UpstreamSetupError::Ca`], [`UpstreamSetupError::Client`].
    pub(super) fn new(settings: &UpstreamSettings, clock: SteadyClock) -> Result<Self, UpstreamSetupError> {
        Ok(Self {
            clock,
            client: Mutex::new((client(settings, ConnectionChoice::Shared)?, Pool(0))),
            alone: OnceLock::new(),
            settings: settings.clone(),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)),
        })
    }

    fn client(&self) -> (Client, Pool) {
        self.client.lock().clone()
    }

    /// Replaces the shared connections by new ones; requests in flight finish on the old ones. Blocks for
    /// some milliseconds, to load the trusted roots.
    pub(super) fn leave(&self, pool: Pool) {
        if self.client().1 != pool {
            return;
        }
        // The same client was built at startup, so it can be built again.
        let Ok(fresh) = client(&self.settings, ConnectionChoice::Shared) else { return };
        self.prepare_alone();
        let mut current = self.client.lock();
        if current.1 == pool {
            *current = (fresh, Pool(pool.0 + 1));
            warn!(target: "fanfold::upstream", "A response from upstream belongs to another request: all its connections are closed.");
        }
    }

    /// Creates the client for requests that need a new connection, if there is none yet. Blocks for some
    /// milliseconds.
    pub(super) fn prepare_alone(&self) {
        if self.alone.get().is_none()
            && let Ok(alone) = client(&self.settings, ConnectionChoice::Alone)
        {
            let _first_counts = self.alone.set(alone);
        }
    }

    /// Sends a request and waits for the head of its response. The only timeout is that for connecting.
    pub(super) async fn send(&self, request: AttemptRequest<'_>) -> Result<ResponseHead, Broken> {
        let headers = headers(request.credential, request.trace).ok_or(Broken::Unsendable)?;
        let sent = self.clock.now().as_micros();
        let (shared, pool) = self.client();
        let client = self.alone.get().filter(|_| request.way == ConnectionChoice::Alone).unwrap_or(&shared);
        let response =
            client.get(request.url).headers(headers).send().await.map_err(|e| before_answer(&e))?;
        let exchange = Exchange { sent, received: self.clock.now().as_micros() };
        Ok(ResponseHead {
            status: response.status(),
            date: retry_after::date(response.headers()),
            retry_after: retry_after::read(response.headers(), exchange.received),
            exchange,
            pool,
            response,
            large_bodies: Arc::clone(&self.large_bodies),
        })
    }
}

/// An HTTP client with its own connections.
fn client(settings: &UpstreamSettings, way: ConnectionChoice) -> Result<Client, UpstreamSetupError> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        // Retries use the budget, so all of them are made in one place.
        .retry(retry::never())
        .pool_idle_timeout(IDLE)
        .connect_timeout(CONNECT.min(settings.attempt_timeout))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING);
    if way == ConnectionChoice::Alone {
        builder = builder.pool_max_idle_per_host(0);
    }
    if let Some(pem) = &settings.ca_pem {
        let roots = Certificate::from_pem_bundle(pem).map_err(|e| UpstreamSetupError::Ca(e.to_string()))?;
        if roots.is_empty() {
            return Err(UpstreamSetupError::Ca("it contains none".to_owned()));
        }
        builder = builder.tls_certs_merge(roots);
    }
    if settings.base_url.is_plain_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| UpstreamSetupError::Client(chain(&e)))
}

impl ResponseHead {
    /// Reads the complete body, decoded.
    pub(super) async fn body(self) -> Result<Bytes, Broken> {
        let mut response = self.response;
        let body = take(&mut response, MOST_BODY, &self.large_bodies).await?;
        body.map(Bytes::from).ok_or(Broken::TooLarge)
    }

    /// Reads the message of an error response. If the body ends early, uses what arrived.
    pub(super) async fn words(mut self, credential: &Credential) -> UpstreamWords {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.response.chunk().await {
            let room = MOST_REFUSAL - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        error_body::find(self.status, &body, credential)
    }
}

/// Reads the body; `None` if it is larger than `most`.
async fn take(
    response: &mut Response,
    most: usize,
    large_bodies: &Semaphore,
) -> Result<Option<Vec<u8>>, Broken> {
    // The length is that of the encoded body; the header is removed if the client decodes.
    let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|l| l > most) {
        return Ok(None);
    }
    // An announced length is only a claim: allocate at most a megabyte for it.
    let mut body = Vec::with_capacity(length.unwrap_or(64 << 10).min(1 << 20));
    let mut place = None;
    while let Some(chunk) = response.chunk().await.map_err(|e| Broken::WithinAnswer(chain(&e)))? {
        let needed = body.len() + chunk.len();
        if needed > most {
            return Ok(None);
        }
        if needed > LARGE_BODY && place.is_none() {
            // The semaphore is never closed; the wait is part of the attempt.
            place = large_bodies.acquire().await.ok();
        }
        if needed > body.capacity() {
            // Grow as vectors do, but never beyond the limit.
            let capacity = (2 * body.capacity()).clamp(needed, most.max(needed));
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(&chunk);
    }
    // Rows keep the whole buffer alive.
    body.shrink_to_fit();
    Ok(Some(body))
}

/// All headers of a request except those that the HTTP client adds; `None` if the key is not a valid header
/// value.
fn headers(credential: &Credential, trace: &Trace) -> Option<HeaderMap> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", credential.expose_key())).ok()?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in [("traceparent", &trace.parent), ("tracestate", &trace.state)] {
        if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Some(headers)
}

fn before_answer(error: &reqwest::Error) -> Broken {
    if error.is_connect() || error.is_builder() {
        Broken::Connect(chain(error))
    } else {
        Broken::BeforeAnswer(chain(error))
    }
}

/// An error and its causes, innermost last. Without the URL, because a relayed query belongs to the caller.
fn chain(error: &reqwest::Error) -> String {
    let text = match () {
        () if error.is_connect() => "no connection",
        () if error.is_decode() => "the content coding of its response is broken",
        () if error.is_body() => "its response broke off",
        () if error.is_builder() => "the HTTP client can't be built",
        () => "the connection broke",
    };
    with_causes(text, error)
}
