//! Authentication and authorization, which precede every other check of a request.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::request::Parts;
use tokio::time::Instant;

use super::access_log::RequestLog;
use super::agent_list::{AgentSelection, MOST_LISTED};
use super::auth::{Agents, AuthenticatedCaller};
use super::problem::{Code, ErrorRenderer, ErrorStyle, Problem};
use super::question::RowSelection;
use super::{App, params};
use crate::domain::{AgentId, Caller, Credential, PeerGroup};
use crate::engine::{
    AskError, CacheDirectives, ListQuestion, Question, ResponseMode, RowNeed, SectionAgents, SectionError,
    Tolerance,
};
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
    /// Collects the content of the log line.
    pub(super) request_log: Arc<RequestLog>,
}

impl AuthorizedRequest {
    /// A question about all of the agent's rows, with their bytes and without missing parts.
    pub(super) fn question(
        &self,
        rows: &RowSelection,
        directives: CacheDirectives,
        mode: ResponseMode,
    ) -> Question {
        Question {
            caller: self.caller,
            credential: self.credential.clone(),
            agent: self.agent,
            filters: rows.filters.clone(),
            any_status: rows.any_status.clone(),
            from: rows.from,
            to: rows.to,
            newest: None,
            directives,
            need: RowNeed::Bytes,
            tolerance: Tolerance::Strict,
            mode,
            trace: self.request_log.trace.clone(),
        }
    }
}

/// A request whose caller may ask about all of its agents, on a path that takes `{agents}`.
///
/// [`about`](Self::about) returns the same request about one agent, so code that serves an
/// [`AuthorizedRequest`] also serves each section of a list.
#[derive(Debug)]
pub(super) struct AuthorizedAgents {
    /// The caller whose shares are used.
    pub(super) caller: Caller,
    /// The agents that the request is about.
    pub(super) agents: RequestedAgents,
    /// The credential to send upstream.
    pub(super) credential: Credential,
    /// Renders errors for the caller.
    pub(super) renderer: ErrorRenderer,
    /// Collects the content of the log line.
    pub(super) request_log: Arc<RequestLog>,
}

/// The agents of a request, as far as they are known without asking upstream. The caller is authorized for
/// each of them.
///
/// A response has one section per agent, in ascending order of id, except for [`Self::One`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestedAgents {
    /// One agent; the response has no sections.
    One(AgentId),
    /// These, named one by one; ascending, each once.
    Named(Arc<[AgentId]>),
    /// `all` for a token that allows some agents: these; ascending, each once.
    AllOfToken(Arc<[AgentId]>),
    /// `all` for a caller that may read every agent of the account: those that upstream lists for the credential.
    AllListed,
}

/// Whether a response has a section for each agent. It depends on the request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseShape {
    /// It is about one agent.
    Plain,
    /// It has sections.
    Sections,
}

/// The segment of a path that names one agent or several; it may not be text.
pub(super) type AgentSegment = Result<Path<String>, PathRejection>;

/// A request whose caller is known.
pub(super) struct Authenticated {
    pub(super) caller: AuthenticatedCaller,
    /// The caller whose shares are used.
    pub(super) counted: Caller,
    pub(super) request_log: Arc<RequestLog>,
}

impl AuthorizedRequest {
    /// Authenticates and authorizes a request about one agent, before anything else in it is examined.
    pub(super) async fn begin(
        app: &App,
        segment: &AgentSegment,
        parts: &Parts,
        style: ErrorStyle,
    ) -> Result<Self, Problem> {
        not_empty(segment)?;
        let Authenticated { caller, counted, request_log } = authenticate(app, parts).await?;
        let agent = params::agent(text(segment))?;
        request_log.note_agent(agent);
        let credential = caller.credential_for(agent)?;
        Ok(Self { caller: counted, agent, credential, renderer: caller.renderer(style), request_log })
    }
}

impl AuthorizedAgents {
    /// Authenticates and authorizes a request on a path that takes `{agents}`, before anything else in it is
    /// examined.
    ///
    /// # Errors
    /// Also if the caller's token does not allow one of the agents; the problem names it.
    pub(super) async fn begin(app: &App, segment: &AgentSegment, parts: &Parts) -> Result<Self, Problem> {
        not_empty(segment)?;
        let Authenticated { caller, counted, request_log } = authenticate(app, parts).await?;
        let agents = RequestedAgents::of(AgentSelection::parse(text(segment))?, &caller)?;
        if let RequestedAgents::One(agent) = agents {
            request_log.note_agent(agent);
        }
        let (credential, renderer) = (caller.credential().clone(), caller.renderer(ErrorStyle::Own));
        Ok(Self { caller: counted, agents, credential, renderer, request_log })
    }

    /// The agents of a response's sections, in order. For `all`, upstream may be asked for its list.
    ///
    /// # Errors
    /// The list can't be read by the deadline, or is too long.
    pub(super) async fn sections(
        &self,
        app: &App,
        directives: &CacheDirectives,
        deadline: Instant,
    ) -> Result<SectionAgents, Problem> {
        let list = match &self.agents {
            RequestedAgents::One(agent) => return Ok(SectionAgents::named([*agent].into())),
            RequestedAgents::Named(agents) | RequestedAgents::AllOfToken(agents) => {
                return Ok(SectionAgents::named(Arc::clone(agents)));
            }
            RequestedAgents::AllListed => ListQuestion {
                caller: self.caller,
                credential: self.credential.clone(),
                directives: *directives,
                deadline,
                trace: self.request_log.trace.clone(),
            },
        };
        let listed = app.unless_ended(app.engine.listed(&list)).await;
        let listed = listed.map_err(|error| self.renderer.problem(&error))?;
        if listed.agents.len() > MOST_LISTED {
            let detail = format!(
                "upstream lists {} agents, and a response has at most {MOST_LISTED}; name up to 100 of them, separated by \
                 commas",
                listed.agents.len()
            );
            return Err(Problem::new(Code::AnswerTooLarge, detail));
        }
        Ok(listed)
    }

    /// The problem with one of the agents, which its detail names.
    pub(super) fn problem(&self, SectionError { agent, error }: &SectionError) -> Problem {
        self.request_log.note_agent(*agent);
        section_problem(self.renderer, *agent, error)
    }

    /// The same request about one of its agents.
    pub(super) fn about(&self, agent: AgentId) -> AuthorizedRequest {
        let Self { caller, agents: _, credential, renderer, request_log } = self;
        AuthorizedRequest {
            caller: *caller,
            agent,
            credential: credential.clone(),
            renderer: *renderer,
            request_log: Arc::clone(request_log),
        }
    }
}

impl RequestedAgents {
    /// Whether the response has sections.
    pub(super) const fn shape(&self) -> ResponseShape {
        match self {
            Self::One(_) => ResponseShape::Plain,
            Self::Named(_) | Self::AllOfToken(_) | Self::AllListed => ResponseShape::Sections,
        }
    }

    /// Describes the agents in the name of a saved file.
    pub(super) fn file_name(&self) -> String {
        match self {
            Self::Named(agents) => format!("{}-agents", agents.len()),
            Self::One(_) | Self::AllOfToken(_) | Self::AllListed => "all".to_owned(),
        }
    }

    /// The agents of a list, if the caller may ask about all of them.
    fn of(list: AgentSelection, caller: &AuthenticatedCaller) -> Result<Self, Problem> {
        match (list, caller.agents()) {
            (AgentSelection::One(agent), _) => {
                caller.credential_for(agent)?;
                Ok(Self::One(agent))
            }
            (AgentSelection::Named(agents), _) => {
                agents.iter().try_for_each(|agent| caller.credential_for(*agent).map(drop))?;
                Ok(Self::Named(agents.into_iter().collect()))
            }
            (AgentSelection::All, Agents::Some(agents)) => {
                Ok(Self::AllOfToken(agents.iter().copied().collect()))
            }
            (AgentSelection::All, Agents::All) => Ok(Self::AllListed),
        }
    }
}

/// The problem with one agent of several, which its detail names.
pub(super) fn section_problem(renderer: ErrorRenderer, agent: AgentId, error: &AskError) -> Problem {
    let problem = renderer.problem(error);
    Problem { detail: format!("agent {agent}: {}", problem.detail), ..problem }
}

fn text(segment: &AgentSegment) -> Option<&str> {
    segment.as_ref().ok().map(|Path(text)| text.as_str())
}

/// Refuses a path with an empty segment. The server has no such path, so there is nothing to authorize.
fn not_empty(segment: &AgentSegment) -> Result<(), Problem> {
    if text(segment) == Some("") { Err(params::nothing_here()) } else { Ok(()) }
}

/// Finds the caller of a request, and notes it in the request's log.
pub(super) async fn authenticate(app: &App, parts: &Parts) -> Result<Authenticated, Problem> {
    // The outermost middleware has created one; without it the response merely has no id.
    let request_log = parts
        .extensions
        .get::<Arc<RequestLog>>()
        .map_or_else(|| Arc::new(RequestLog::open("-".into(), Trace::default())), Arc::clone);
    let caller = app.authenticator.authenticate(&parts.headers).await?;
    request_log.note_client(caller.name.clone());
    // The server inserts the peer's address.
    let peer = parts.extensions.get::<IpAddr>().copied().map_or(PeerGroup::Unknown, PeerGroup::of);
    let counted = Caller { id: caller.id(), peer };
    Ok(Authenticated { caller, counted, request_log })
}
