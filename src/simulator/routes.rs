//! The complete URL space.

use std::fmt::Write as _;
use std::io::Write as _;

use axum::body::Bytes;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use http::header;
use serde::Deserialize;
use serde_json::Value;

use super::Simulator;
use super::admission::{RequestNumber, admit};
use super::query::ListQuery;
use super::refusal::Refusal;
use super::row::write_instant;
use super::rows::{Ask, Found};
use super::world::Agent;

/// Bytes reserved for each row of a page, so that its buffer rarely grows.
const ROW_GUESS: usize = 12 * 1024;

/// The parts of an agent's object that are the same for all.
const AGENT: &str = r#""agent_welcome_message":"Hello!","webhook_url":null,"tasks":[{"task_type":"conversation"}],"agent_prompts":{"task_1":{"system_prompt":"You are a friendly agent \u2014 keep it short."}}"#;

/// The account that every key belongs to.
const ACCOUNT: &str = r#"{"id":"4f6e4b0c-6a2e-4c0e-9d37-0b8c1f2a7e55","name":"simulated","email":"simulated@example.com","wallet":1234.5,"concurrency":{"max":10,"current":0}}"#;

#[derive(Debug, Deserialize)]
struct AgentBody {
    agent_config: AgentConfig,
}

#[derive(Debug, Deserialize)]
struct AgentConfig {
    agent_name: String,
}

impl Simulator {
    /// The routes. [`Self::serve`] serves them on a listener, and can reset connections.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v2/agent/all", get(agents))
            .route("/v2/agent/{id}", get(agent).put(rename_agent).patch(rename_agent))
            .route("/v2/agent/{id}/executions", get(executions))
            .route("/executions/{id}", get(execution))
            .route("/user/me", get(|| async { json(ACCOUNT.to_owned()) }))
            .fallback(|| async { Refusal::NotFound("Path") })
            .method_not_allowed_fallback(|| async { Refusal::Method })
            .layer(middleware::from_fn_with_state(self.clone(), admit))
            .with_state(self.clone())
    }

    /// The agent with this id.
    fn known_agent(&self, id: &str) -> Result<&Agent, Refusal> {
        let agent = id.parse().ok().and_then(|id| self.inner.world.agent(id));
        agent.ok_or(Refusal::NotFound("Agent"))
    }
}

fn json(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn executions(
    State(simulator): State<Simulator>,
    Extension(number): Extension<RequestNumber>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let settings = &simulator.inner.settings;
    let query = ListQuery::read(&query.unwrap_or_default(), settings.window)?;
    let agent = simulator.known_agent(&id)?;
    let found = simulator.inner.world.page(
        agent,
        Ask {
            filters: &query.filters,
            bounds: query.bounds(),
            page: query.page,
            ties: settings.ties,
            request: number.0 ^ settings.seed,
            now: 0,
            commit_lag: 0,
        },
    );
    Ok(json(page(&simulator, agent, &query, &found)))
}

/// A page's body.
fn page(simulator: &Simulator, agent: &Agent, query: &ListQuery, found: &Found) -> Vec<u8> {
    let mut body = Vec::with_capacity(512 + found.rows.len() * ROW_GUESS);
    let _ = write!(
        body,
        "{{\"page_number\":{},\"page_size\":{},\"total\":{},\"has_more\":{},\"data\":[",
        query.page.number,
        query.page.size,
        found.matching,
        query.page.end() < found.matching
    );
    for (place, row) in found.rows.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        simulator.inner.world.write(agent, row, &mut body);
    }
    body.extend_from_slice(b"],\"filters\":{");
    let mut comma = "";
    let ends = [("from", query.from), ("to", query.to)];
    let ends = ends.into_iter().filter_map(|(name, at)| Some((name, at?.to_string())));
    for (name, value) in query.filters.pairs().into_iter().chain(ends) {
        let _ = write!(body, "{comma}\"{name}\":\"{value}\"");
        comma = ",";
    }
    body.extend_from_slice(b"},\"sorts\":{\"created_at\":\"desc\"}}");
    body
}

async fn agents(State(simulator): State<Simulator>) -> Response {
    let objects: Vec<_> = simulator.inner.world.agents().iter().map(describe).collect();
    json(format!("[{}]", objects.join(",")))
}

async fn agent(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    Ok(json(describe(simulator.known_agent(&id)?)))
}

async fn rename_agent(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let agent = simulator.known_agent(&id)?;
    let body: AgentBody = serde_json::from_slice(&body)
        .map_err(|_| Refusal::BadRequest("the body must have 'agent_config.agent_name'"))?;
    agent.rename(body.agent_config.agent_name);
    Ok(json("{\"message\":\"success\",\"state\":\"updated\"}"))
}

async fn execution(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let world = &simulator.inner.world;
    let (agent, record, standing) = world.execution(&id).ok_or(Refusal::NotFound("Execution"))?;
    let mut body = Vec::with_capacity(ROW_GUESS);
    world.write(agent, &(record, standing), &mut body);
    Ok(json(body))
}

/// An agent's object.
fn describe(agent: &Agent) -> String {
    let profile = agent.profile();
    let mut object = format!(
        "{{\"id\":\"{}\",\"agent_name\":{},\"agent_type\":\"other\",\"agent_status\":\"processed\"",
        agent.id,
        Value::from(profile.name.as_str())
    );
    write_instant(",\"created_at\":", Some(agent.created_at), &mut object);
    write_instant(",\"updated_at\":", Some(profile.updated_at), &mut object);
    let _ = write!(object, ",{AGENT}}}");
    object
}
