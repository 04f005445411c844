use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::request::Parts;

use super::account::Account;
use super::problem::{Face, Manner, Problem};
use super::{App, params};
use crate::domain::{AgentId, Caller, Credential, PeerGroup};
use crate::telemetry::Trace;

/// Somebody who may ask about an agent.
#[derive(Debug)]
pub(super) struct Visit {
    /// Whose share of everything is used.
    pub(super) caller: Caller,
    /// Whom they ask about.
    pub(super) agent: AgentId,
    /// What upstream is asked with.
    pub(super) credential: Credential,
    /// How they are told of errors.
    pub(super) face: Face,
    /// Where it is noted what they got.
    pub(super) account: Arc<Account>,
}

/// The `agent_id` of a path, perhaps not even text.
pub(super) type AgentSegment = Result<Path<String>, PathRejection>;

impl Visit {
    /// Finds out who asks about whom, and whether they may, before anything else of the request is looked at.
    pub(super) async fn begin(
        app: &App,
        segment: &AgentSegment,
        parts: &Parts,
        manner: Manner,
    ) -> Result<Self, Problem> {
        // The outermost layer has opened one; without it the answer has no id but is no worse.
        let account = parts
            .extensions
            .get::<Arc<Account>>()
            .map_or_else(|| Arc::new(Account::open("-".into(), Trace::default())), Arc::clone);
        let text = segment.as_ref().ok().map(|Path(text)| text.as_str());
        // No path of this server's, so it is nobody's business who asks.
        if text == Some("") {
            return Err(params::nothing_here());
        }
        let caller = app.doors.authenticate(&parts.headers).await?;
        account.note_client(caller.name.clone());
        let agent = params::agent(text)?;
        account.note_agent(agent);
        let credential = caller.credential_for(agent)?;
        // The server says where a request came from.
        let peer = parts.extensions.get::<IpAddr>().copied().map_or(PeerGroup::Unknown, PeerGroup::of);
        Ok(Self {
            caller: Caller { id: caller.id(), peer },
            agent,
            credential,
            face: caller.face(manner),
            account,
        })
    }
}
