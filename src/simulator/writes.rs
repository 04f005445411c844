//! Paths that clients write to: calls and agents.

use std::num::NonZeroU64;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json as value;
use serde_json::value::RawValue;

use super::Simulator;
use super::answers::{agent_with_id, reply};
use super::refusal::Refusal;
use super::world::Profile;
use crate::domain::Timestamp;

/// The number of digits of a phone number in E.164 form.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

#[derive(Debug, Deserialize)]
struct AgentBody {
    #[serde(default)]
    agent_config: AgentConfig,
    agent_prompts: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct AgentConfig {
    agent_name: Option<String>,
    agent_welcome_message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CallBody {
    agent_id: String,
    recipient_phone_number: String,
}

pub(super) async fn create_agent(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let body: AgentBody = read(&body)?;
    let name = body.agent_config.agent_name.clone();
    let name = name.ok_or_else(|| Refusal::Body("'agent_config.agent_name' is required".to_owned()))?;
    let agent = simulator.inner.world.create_agent(name);
    agent.change_profile(|profile| change(profile, body, agent.created_at));
    Ok(reply(&value!({ "agent_id": agent.id.to_string(), "status": "created" })))
}

pub(super) async fn change_agent(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let agent = agent_with_id(&simulator, &id)?;
    let body: AgentBody = read(&body)?;
    let now = simulator.inner.world.clock_now();
    agent.change_profile(|profile| change(profile, body, now));
    Ok(reply(&value!({ "message": "success", "state": "updated" })))
}

pub(super) async fn delete_agent(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    agent_with_id(&simulator, &id)?.vanish();
    Ok(reply(&value!({ "message": "success", "state": "deleted" })))
}

pub(super) async fn stop_agent(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    agent_with_id(&simulator, &id)?;
    Ok(reply(&value!({ "stopped_executions": [] })))
}

pub(super) async fn call(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let body: CallBody = read(&body)?;
    let agent = agent_with_id(&simulator, &body.agent_id)?;
    let recipient = e164(&body.recipient_phone_number)
        .ok_or_else(|| Refusal::Body("'recipient_phone_number' must be in E.164 format".to_owned()))?;
    let id = simulator.inner.world.place_call(&agent, recipient);
    Ok(reply(&value!({ "message": "done", "status": "queued", "execution_id": id })))
}

/// The digits of a phone number in E.164 form, which do not begin with a zero.
fn e164(number: &str) -> Option<NonZeroU64> {
    let digits = number.strip_prefix('+').filter(|digits| !digits.starts_with(['+', '0']))?;
    digits.parse().ok().filter(|_| DIGITS.contains(&digits.len()))
}

fn change(profile: &mut Profile, body: AgentBody, now: Timestamp) {
    let AgentBody { agent_config, agent_prompts } = body;
    profile.updated_at = now;
    if let Some(name) = agent_config.agent_name {
        profile.name = name;
    }
    if let Some(message) = agent_config.agent_welcome_message {
        profile.welcome_message = message;
    }
    if let Some(prompts) = agent_prompts {
        profile.prompts = Some(prompts);
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Body("the body is not valid".to_owned()))
}
