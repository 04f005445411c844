//! Makes one attempt over HTTP, and bounds what is sent, how long to wait, and how much of a response is read.

use std::error::Error as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{Certificate, Client, Response, Url, redirect, retry};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::clock::SteadyClock;
use crate::domain::Credential;
use crate::source::{Trace, UpstreamWords};

use super::clock::Exchange;
use super::settings::{HostLocation, UpstreamSettings, UpstreamSetupError};
use super::{error_body, retry_after};

/// The largest page that is taken in, decoded: more than half a megabyte for each of its rows, and some 150 times a page of large
/// ones. What unpacks to more is stopped while it unpacks.
const MOST_BODY: usize = 32 << 20;

/// From this size on, a body needs one of the few places for large ones: twice a page of the largest rows that were seen.
///
/// What is taken in at once is bounded by it and [`LARGE_BODIES`], whatever upstream sends: 32 connections hold 128 MiB,
/// and the large ones another 64 and what growing costs.
const LARGE_BODY: usize = 4 << 20;

/// How many large bodies are taken in at once.
const LARGE_BODIES: usize = 2;

/// How much of a refusal is read for its words.
const MOST_REFUSAL: usize = 64 << 10;

/// How long an idle connection is kept.
///
/// Shorter than the idle time-outs of the usual load balancers (60 s at AWS, 50 s to 75 s in the examples that
/// haproxy and nginx are set up by), so that it is this side that closes, never the other while a request is on its way.
const IDLE: Duration = Duration::from_secs(20);

/// How long setting up a connection may take: three lost packets on the way around the world.
const CONNECT: Duration = Duration::from_secs(5);

/// How often an HTTP/2 connection with requests in flight is asked for a sign of life, and how long it has to give it.
const PING: Duration = Duration::from_secs(5);

const USER_AGENT: &str = concat!("fanfold/", env!("CARGO_PKG_VERSION"));

/// Asks upstream over HTTP.
#[derive(Debug)]
pub(super) struct HttpClient {
    settings: UpstreamSettings,
    clock: SteadyClock,
    /// Its connections are its own.
    client: Mutex<(Client, Pool)>,
    /// One that uses no connection twice, made when it is first needed.
    alone: OnceLock<Client>,
    large_bodies: Arc<Semaphore>,
}

/// Connections that are used again for one another's requests, told from those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool(u64);

/// What one attempt asks for.
#[derive(Debug)]
pub(super) struct AttemptRequest<'a> {
    pub(super) url: Url,
    pub(super) credential: &'a Credential,
    pub(super) trace: &'a Trace,
    pub(super) way: ConnectionChoice,
}

/// By which connection to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionChoice {
    /// One that others used, if there is one.
    Shared,
    /// One of its own, so that nobody else's answer can be on it.
    Alone,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The answer's `Date`, in microseconds since 1970.
    pub(super) date: Option<i64>,
    pub(super) retry_after: Option<Duration>,
    pub(super) exchange: Exchange,
    /// By which connections it came.
    pub(super) pool: Pool,
    response: Response,
    large_bodies: Arc<Semaphore>,
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// No connection could be made: the request can't have been seen.
    Connect(String),
    /// The connection ended before anything of an answer came, as one does that was idle too long.
    BeforeAnswer(String),
    /// The connection ended, or the coding broke, within an answer.
    WithinAnswer(String),
    /// The body is larger than [`MOST_BODY`].
    TooLarge,
    /// The key can't be written in a header.
    Unsendable,
}

impl HttpClient {
    /// Sets the http client up.
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
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves connections for new ones: what is under way on them ends there. It blocks for some milliseconds, for the
    /// trusted roots.
    pub(super) fn leave(&self, pool: Pool) {
        if self.client().1 != pool {
            return;
        }
        // What could be built at the start can be built again.
        let Ok(fresh) = client(&self.settings, ConnectionChoice::Shared) else { return };
        self.prepare_alone();
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 == pool {
            *current = (fresh, Pool(pool.0 + 1));
            warn!(target: "fanfold::upstream", "A response from upstream belongs to another request: all its connections are closed.");
        }
    }

    /// Makes the client for requests that need a connection of their own, if there is none yet. It blocks for some milliseconds.
    pub(super) fn prepare_alone(&self) {
        if self.alone.get().is_none()
            && let Ok(alone) = client(&self.settings, ConnectionChoice::Alone)
        {
            let _first_counts = self.alone.set(alone);
        }
    }

    /// Sends a request and waits for the head of its answer. There is no time-out but that for connecting.
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

/// An http client with connections of its own.
fn client(settings: &UpstreamSettings, way: ConnectionChoice) -> Result<Client, UpstreamSetupError> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        // Retries take from the budget, so they are all made in one place.
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
            return Err(UpstreamSetupError::Ca("there is none in it".to_owned()));
        }
        builder = builder.tls_certs_merge(roots);
    }
    if settings.base_url.place() == HostLocation::Loopback && settings.base_url.is_plain() {
        // Through a proxy, what may go in the clear within this machine would go in the clear outside.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| UpstreamSetupError::Client(chain(&e)))
}

impl ResponseHead {
    /// Takes the whole body in, decoded.
    pub(super) async fn body(self) -> Result<Bytes, Broken> {
        let mut response = self.response;
        let body = take(&mut response, MOST_BODY, &self.large_bodies).await?;
        body.map(Bytes::from).ok_or(Broken::TooLarge)
    }

    /// Takes in what a refusal says; an end that comes too early leaves what came.
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

/// The body, or none if it is larger than `most`.
async fn take(
    response: &mut Response,
    most: usize,
    large_bodies: &Semaphore,
) -> Result<Option<Vec<u8>>, Broken> {
    // The length is of the encoded body, and gone from the headers where the client decodes.
    let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|l| l > most) {
        return Ok(None);
    }
    // What is announced is not yet there: a megabyte at most is laid out for it.
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
            // As vectors grow, but never beyond what may come.
            let capacity = (2 * body.capacity()).clamp(needed, most.max(needed));
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(&chunk);
    }
    // Rows hold on to the whole of it.
    body.shrink_to_fit();
    Ok(Some(body))
}

/// All headers that a request has beside those of the http client itself; none if the key fits in no header.
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

/// An error and what caused it, innermost last. The URL is left out: a relayed query is the caller's business.
fn chain(error: &reqwest::Error) -> String {
    let mut text = match () {
        () if error.is_connect() => "no connection".to_owned(),
        () if error.is_decode() => "the coding of its answer is broken".to_owned(),
        () if error.is_body() => "its answer broke off".to_owned(),
        () if error.is_builder() => "the http client can't be built".to_owned(),
        () => "the connection broke".to_owned(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
