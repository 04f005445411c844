//! Sends forwarded requests as they are, streamed in both directions.
//!
//! This client is not the one that reads pages. It doesn't parse the path (what was checked is what is sent), adds no
//! `Accept-Encoding`, decodes nothing, and speaks HTTP/1.1 whatever the caller speaks.
//!
//! `GET` and `HEAD` reuse idle connections; if one turns out to be dead, the request is sent once more on a new one. Other
//! methods always get a new connection: if a reused connection dies during a write, nobody can tell whether upstream acted
//! on it, and a call must not be placed twice.

mod activity;
mod connect;
mod socket;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::activity::{Activity, Download, Silence, Upload};
use self::connect::Connector;
use super::client::IDLE;
use super::settings::{UpstreamSettings, UpstreamSetupError};
use crate::forward::{Forward, ForwardBody, ForwardError};

/// The most idle connections that are kept. If more requests than this are in flight, each excess one opens
/// and closes a connection.
const MOST_IDLE: usize = 128;

/// The most bytes that a connection buffers.
const BUFFER: usize = 64 << 10;

/// Forwards requests to upstream.
#[derive(Debug)]
pub struct Forwarder {
    reusing: Client<Connector, Upload>,
    fresh: Client<Connector, Upload>,
    scheme: Scheme,
    authority: Authority,
    /// The path of the base URL, without a slash at its end.
    prefix: String,
    silence: Duration,
}

impl Forwarder {
    /// Sets up the clients. Sends nothing yet.
    ///
    /// # Errors
    /// [`UpstreamSetupError`].
    pub fn new(settings: &UpstreamSettings) -> Result<Self, UpstreamSetupError> {
        let base: Uri = settings
            .base_url
            .as_str()
            .parse()
            .map_err(|_| UpstreamSetupError::Url("it is not a valid URI".to_owned()))?;
        let no_host = || UpstreamSetupError::Url("it has no host".to_owned());
        let connector = connect::connector(settings, &base)?;
        let client = |idle| {
            let mut builder = Client::builder(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(idle)
                .http1_max_buf_size(BUFFER)
                .retry_canceled_requests(false);
            builder.build(connector.clone())
        };
        Ok(Self {
            reusing: client(MOST_IDLE),
            fresh: client(0),
            scheme: base.scheme().cloned().ok_or_else(no_host)?,
            authority: base.authority().cloned().ok_or_else(no_host)?,
            prefix: base.path().trim_end_matches('/').to_owned(),
            silence: settings.attempt_timeout,
        })
    }

    /// The caller's path and query below the base, byte for byte.
    fn uri(&self, target: &Uri) -> Result<Uri, ForwardError> {
        let target = target.path_and_query().ok_or(ForwardError::BadTarget)?;
        let path = if self.prefix.is_empty() {
            target.clone()
        } else {
            let joined = format!("{}{target}", self.prefix);
            PathAndQuery::from_maybe_shared(Bytes::from(joined)).map_err(|_| ForwardError::BadTarget)?
        };
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(path).build().map_err(|_| ForwardError::BadTarget)
    }

    async fn send(&self, request: Request<ForwardBody>) -> Result<Response<ForwardBody>, ForwardError> {
        let (mut parts, body) = request.into_parts();
        parts.uri = self.uri(&parts.uri)?;
        // The caller's version is that of another connection.
        parts.version = Version::HTTP_11;
        if !(parts.method == Method::GET || parts.method == Method::HEAD) {
            return self.attempt(&self.fresh, parts, body).await;
        }
        if !body.is_end_stream() {
            return self.attempt(&self.reusing, parts, body).await;
        }
        match self.attempt(&self.reusing, parts.clone(), body).await {
            Err(ForwardError::Broken) => self.attempt(&self.fresh, parts, nothing()).await,
            answer => answer,
        }
    }

    async fn attempt(
        &self,
        client: &Client<Connector, Upload>,
        parts: Parts,
        body: ForwardBody,
    ) -> Result<Response<ForwardBody>, ForwardError> {
        let activity = Arc::new(Activity::new(self.silence));
        let is_head = parts.method == Method::HEAD;
        let request = Request::from_parts(parts, Upload::new(body, Arc::clone(&activity)));
        let answer = tokio::select! {
            biased;
            answer = client.request(request) => answer.map_err(|error| failure(&error, &activity))?,
            silence = activity.silence() => return Err(match silence {
                Silence::Upstreams => ForwardError::TimedOut,
                Silence::Callers => ForwardError::BodyBroke,
            }),
        };
        let (mut parts, body) = answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ForwardError::Broken);
        }
        parts.version = Version::HTTP_11;
        // Without a body, no length must be sent.
        let has_no_body = is_head || parts.status == StatusCode::NOT_MODIFIED;
        let body = Download::new(body, activity, has_no_body);
        Ok(Response::from_parts(parts, body.boxed_unsync()))
    }
}

impl Forward for Forwarder {
    fn forward(
        &self,
        request: Request<ForwardBody>,
    ) -> BoxFuture<'_, Result<Response<ForwardBody>, ForwardError>> {
        self.send(request).boxed()
    }
}

fn nothing() -> ForwardBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn failure(error: &legacy::Error, activity: &Activity) -> ForwardError {
    if error.is_connect() {
        // The innermost cause is the most specific, and does not contain the path.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        ForwardError::Unreachable(cause.to_string())
    } else if activity.has_body_broken() {
        ForwardError::BodyBroke
    } else {
        tracing::debug!(
            target: "fanfold::upstream",
            cause = error.source().map(tracing::field::display),
            "A forwarded request failed: the connection to upstream broke."
        );
        ForwardError::Broken
    }
}

#[cfg(test)]
mod tests;
