//! Helpers for responses.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

use super::Simulator;
use super::refusal::Refusal;
use super::world::Agent;
use crate::domain::AgentId;

/// The agent with this id.
pub(super) fn agent_with_id(simulator: &Simulator, id: &str) -> Result<Arc<Agent>, Refusal> {
    let id: AgentId = id.parse().map_err(|_| Refusal::NotFound("Agent"))?;
    simulator.inner.world.agent(id).ok_or(Refusal::NotFound("Agent"))
}

pub(super) fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn reply(body: &Value) -> Response {
    let mut text = String::new();
    let _ = write!(text, "{body}");
    json(text.into_bytes())
}
