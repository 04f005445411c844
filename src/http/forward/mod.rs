//! Forwards upstream's other paths, so that any client works with only its base URL changed.
//!
//! [`policy`] decides from the bytes of the request whether it may pass, and [`headers`] which headers do.
//! The number of forwarded requests in progress is bounded. The list of agents, one agent and one execution
//! are [`shared`] between the callers of one key; everything else is streamed in both directions. With a held
//! key, only listed paths pass, and only what the caller's token allows.

mod answers;
mod body;
mod forwarded;
mod headers;
pub(super) mod policy;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body::Body as _;

use self::answers::Reached;
use self::body::{Guarded, Written, nothing, request_body, taken_in};
use self::policy::{Mode, Route, is_read};
use self::shared::{Lifetime, ReadRequest};
use super::access_log::RequestLog;
use super::auth;
use super::authorized::{Authenticated, authenticate};
use super::places::ResponsePlace;
use super::prefer::directives;
use super::problem::{Code, KeyOwner, Problem};
use super::{App, page, params};
use crate::engine::AskError;
use crate::forward::ForwardError;

pub use self::forwarded::Forwarded;
pub use self::policy::Forwarding;

/// How long data read with a caller's own key is served to it before upstream is asked about the key again.
const LONGEST_UNCHECKED: Duration = Duration::from_secs(60);

/// The handler of every path that isn't the gateway's own.
pub(super) async fn forward(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    if let Some(uri) = policy::forgiven(&parts.uri) {
        parts.uri = uri;
        if let Some(agent) = policy::page_of(parts.uri.path()).map(str::to_owned)
            && is_read(&parts.method)
        {
            return page::page(State(app), Ok(Path(agent)), Request::from_parts(parts, body)).await;
        }
    }
    Box::pin(answer(app, parts, body)).await
}

async fn answer(app: Arc<App>, parts: Parts, body: Body) -> Result<Response, Problem> {
    let Some(forwarded) = &app.forwarded else { return Err(params::nothing_here()) };
    if forwarded.forwarding == Forwarding::None || policy::is_own(parts.uri.path()) {
        return Err(params::nothing_here());
    }
    let Authenticated { caller, counted, request_log } = authenticate(&app, &parts).await?;
    let mode = match caller.key() {
        KeyOwner::Callers => Mode::PassThrough,
        KeyOwner::Held => Mode::Held,
    };
    policy::allowed(forwarded.forwarding, mode, &parts.method, &parts.uri, parts.version, &parts.headers)?;
    if headers::is_looped(&parts.headers) {
        let detail = "the request has already passed fanfold: `Via` names it";
        return Err(Problem {
            status: StatusCode::LOOP_DETECTED,
            ..Problem::new(Code::InvalidRequest, detail)
        });
    }
    let path = parts.uri.path().to_owned();
    let route = Route::of(&path);
    answers::may_reach(&caller, mode, route, &request_log)?;
    let places = &forwarded.places;
    let place = app.take_place_in(places, "forwarded requests", counted, caller.credential().id())?;
    let authorized = AuthorizedForward { app: &app, forwarded, request_log, caller, mode, route };
    let work = async {
        if is_read(&parts.method) && policy::is_shared(mode, route, &parts.uri) {
            authorized.share(&parts).await
        } else {
            authorized.stream(parts, body, place).await
        }
    };
    tokio::select! {
        biased;
        () = app.shutdown.end_ordered() => {
            Err(Problem::new(Code::ShuttingDown, AskError::ShuttingDown.to_string()))
        }
        answer = work => answer,
    }
}

/// A request that may be forwarded.
struct AuthorizedForward<'a> {
    app: &'a App,
    forwarded: &'a Forwarded,
    request_log: Arc<RequestLog>,
    caller: auth::AuthenticatedCaller,
    mode: Mode,
    route: Route<'a>,
}

impl AuthorizedForward<'_> {
    /// The response that callers of one key share.
    async fn share(&self, parts: &Parts) -> Result<Response, Problem> {
        let credential = self.caller.credential();
        let key = (credential.id(), Arc::<str>::from(parts.uri.path()));
        let directives = directives(&parts.headers);
        let longest = directives.max_age.map(|longest| longest.max(Duration::from_secs(1)));
        let kept = self.forwarded.shared.kept(&key);
        let kept = kept.filter(|whole| longest.is_none_or(|longest| whole.read_at.elapsed() <= longest));
        if let Some(whole) = kept {
            return answers::reached(&self.caller, self.mode, self.route, &whole)?
                .present(parts, Reached::Kept);
        }
        if directives.only_if_cached {
            return Err(Problem::new(Code::NotCached, AskError::NotCached.to_string()));
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", credential.expose_key()))
            .map_err(|_| Problem::new(Code::Unauthenticated, "the credential is malformed"))?;
        authorization.set_sensitive(true);
        let mut request = http::Request::new(nothing());
        *request.uri_mut() =
            parts.uri.path().parse().map_err(|_| answers::failed(&ForwardError::BadTarget, true))?;
        *request.headers_mut() = headers::shared(authorization, &self.request_log.trace);
        let reading = ReadRequest { key, request, lifetime: self.lifetime(directives.no_store) };
        let client = Arc::clone(&self.forwarded.client);
        let flight = self.forwarded.shared.read(reading, client, &self.app.shutdown);
        let whole = flight.outcome().await.map_err(|not_read| answers::not_read(&not_read))?;
        if matches!(whole.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.forwarded.shared.drop_credential(credential.id());
        }
        answers::reached(&self.caller, self.mode, self.route, &whole)?.present(parts, Reached::Read)
    }

    /// How old a response may get.
    fn lifetime(&self, no_store: bool) -> Lifetime {
        let engine = Arc::clone(&self.app.engine);
        let is_execution = matches!(self.route, Route::Execution(_));
        let most = match self.mode {
            Mode::PassThrough => LONGEST_UNCHECKED,
            Mode::Held => Duration::MAX,
        };
        Box::new(move |body| {
            let lifetime = match (no_store, is_execution) {
                (true, _) => Duration::ZERO,
                (false, false) => engine.agent_lifetime(),
                (false, true) => answers::row(body).map_or(Duration::ZERO, |row| engine.row_lifetime(row)),
            };
            lifetime.min(most)
        })
    }

    /// The response as it arrives.
    async fn stream(self, parts: Parts, body: Body, place: ResponsePlace) -> Result<Response, Problem> {
        let is_read = is_read(&parts.method);
        let credential = self.caller.credential();
        let written = (!is_read).then(|| Written::begin(&self.forwarded.shared, credential.id()));
        let mut up = headers::upwards(&parts.headers, &self.request_log.trace, &self.request_log.request_id);
        if self.mode == Mode::Held {
            let mut value = HeaderValue::try_from(format!("Bearer {}", credential.expose_key()))
                .map_err(|_| Problem::new(Code::UpstreamDenied, "the held key can't be sent"))?;
            value.set_sensitive(true);
            up.insert(header::AUTHORIZATION, value);
        }
        let has_length = up.contains_key(header::CONTENT_LENGTH);
        let mut request = http::Request::new(request_body(body, parts.version, has_length).await);
        *request.method_mut() = parts.method.clone();
        // The path and the query that were checked, byte for byte.
        let target = parts.uri.path_and_query().cloned();
        *request.uri_mut() =
            target.map(Uri::from).ok_or_else(|| answers::failed(&ForwardError::BadTarget, is_read))?;
        *request.headers_mut() = up;
        let is_sent = request.body().is_end_stream();
        let answer =
            self.forwarded.client.forward(request).await.map_err(|error| answers::failed(&error, is_read))?;
        if self.mode == Mode::Held && answer.status() != StatusCode::OK {
            return Err(answers::refused(self.route, answer.status()));
        }
        let (head, body) = answer.into_parts();
        let body = if head.status.as_u16() >= 400 && !is_sent { taken_in(body).await } else { body };
        let body = Guarded::new(body, place, written);
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = headers::downwards(&head.headers);
        Ok(response)
    }
}
