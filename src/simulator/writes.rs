//! Writes of clients: calls, and changes of agents.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json as value;
use serde_json::value::RawValue;

use super::answers::{agent_with_id, reply};
use super::refusal::Refusal;
use super::{Insertion, Simulator};
use crate::domain::CallType;

/// The digits of a phone number in E.164 form, at least and at most.
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
    let now = agent.created_at;
    agent.change_profile(|profile| {
        change(profile, body);
        profile.updated_at = now;
    });
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
    agent.change_profile(|profile| {
        change(profile, body);
        profile.updated_at = now;
    });
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

/// Places a call: a new row, which proceeds if its agent is live.
pub(super) async fn call(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let body: CallBody = read(&body)?;
    let agent = agent_with_id(&simulator, &body.agent_id)?;
    let number = &body.recipient_phone_number;
    let is_number = number
        .strip_prefix('+')
        .is_some_and(|digits| DIGITS.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_number {
        return Err(Refusal::Body("'recipient_phone_number' must be in E.164 format".to_owned()));
    }
    let row = Insertion::at(simulator.inner.world.clock_now()).proceeding();
    let row = row.call_type(CallType::Outbound).recipient(number);
    let id = simulator.insert(agent.id, row).map_err(|_| Refusal::NotFound("Agent"))?;
    Ok(reply(&value!({ "message": "done", "status": "queued", "execution_id": id.to_string() })))
}

fn change(profile: &mut super::world::Profile, body: AgentBody) {
    let AgentBody { agent_config, agent_prompts } = body;
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
