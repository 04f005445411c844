use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::request::Parts;

use super::access_log::RequestLog;
use super::problem::{ErrorRenderer, ErrorStyle, Problem};
use super::{App, params};
use crate::domain::{AgentId, Caller, Credential, PeerGroup};
use crate::telemetry::Trace;

/// A request whose caller may ask about its agent.
#[derive(Debug)]
pub(super) struct AuthorizedRequest {
    /// The caller whose shares are used.
    pub(super) caller: Caller,
    /// The agent that the request is about.
    pub(super) agent: AgentId,
    /// The credential to send upstream.
    pub(super) credential: Credential,
    /// Renders errors for the caller.
    pub(super) renderer: ErrorRenderer,
    /// Collects what the log line will say.
    pub(super) request_log: Arc<RequestLog>,
}

/// The `agent_id` of a path, which may not even be text.
pub(super) type AgentSegment = Result<Path<String>, PathRejection>;

impl AuthorizedRequest {
    /// Authenticates and authorizes a request, before anything else in it is examined.
    pub(super) async fn begin(
        app: &App,
        segment: &AgentSegment,
        parts: &Parts,
        style: ErrorStyle,
    ) -> Result<Self, Problem> {
        // The outermost middleware has created one; without it the response merely has no id.
        let request_log = parts
            .extensions
            .get::<Arc<RequestLog>>()
            .map_or_else(|| Arc::new(RequestLog::open("-".into(), Trace::default())), Arc::clone);
        let text = segment.as_ref().ok().map(|Path(text)| text.as_str());
        // The server has no such path, so there is nothing to authorize.
        if text == Some("") {
            return Err(params::nothing_here());
        }
        let caller = app.authenticator.authenticate(&parts.headers).await?;
        request_log.note_client(caller.name.clone());
        let agent = params::agent(text)?;
        request_log.note_agent(agent);
        let credential = caller.credential_for(agent)?;
        // The server inserts the peer's address.
        let peer = parts.extensions.get::<IpAddr>().copied().map_or(PeerGroup::Unknown, PeerGroup::of);
        Ok(Self {
            caller: Caller { id: caller.id(), peer },
            agent,
            credential,
            renderer: caller.renderer(style),
            request_log,
        })
    }
}
