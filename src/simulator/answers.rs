//! Helpers for responses, and the agents that a key may see.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

use super::Simulator;
use super::admission::Caller;
use super::refusal::Refusal;
use super::world::Agent;
use crate::domain::AgentId;

/// The agent with this id, if the key may see it. An agent of another key looks as if it did not exist.
pub(super) fn seen_agent(simulator: &Simulator, caller: &Caller, id: &str) -> Result<Arc<Agent>, Refusal> {
    let id: AgentId = id.parse().map_err(|_| Refusal::NotFound("Agent"))?;
    simulator.inner.world.agent(id).filter(|agent| caller.sees(agent.id)).ok_or(Refusal::NotFound("Agent"))
}

/// The agents that the key may see.
pub(super) fn seen_agents(simulator: &Simulator, caller: &Caller) -> Vec<Arc<Agent>> {
    let mut agents = simulator.inner.world.agents();
    agents.retain(|agent| caller.sees(agent.id));
    agents
}

pub(super) fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn reply(body: &Value) -> Response {
    let mut text = String::new();
    let _ = write!(text, "{body}");
    json(text.into_bytes())
}
