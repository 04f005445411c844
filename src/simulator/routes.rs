//! The whole space of URLs.

use std::io::Write as _;

use axum::extract::{DefaultBodyLimit, Extension, Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::Value;

use super::Simulator;
use super::admission::admit;
use super::answers::{agent_with_id, json};
use super::log::SeenRequest;
use super::query::ListQuery;
use super::refusal::Refusal;
use super::row::stamped;
use super::rows::{Ask, Found};
use super::world::Agent;
use super::{neighbors, writes};
use crate::domain::Timestamp;

/// Bytes set aside for each row of a page, so that its buffer seldom grows.
const ROW_GUESS: usize = 12 * 1024;

/// The largest body that a client may send.
const MOST_BODY: usize = 64 << 20;

/// The prompts of a seeded agent.
const PROMPTS: &str = r#"{"task_1":{"system_prompt":"You are a friendly agent \u2014 keep it short."}}"#;

impl Simulator {
    /// The routes. [`Self::serve`] serves them on a listener, and can reset connections.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v2/agent", post(writes::create_agent))
            .route("/v2/agent/all", get(agents))
            .route(
                "/v2/agent/{id}",
                get(agent).put(writes::change_agent).patch(writes::change_agent).delete(writes::delete_agent),
            )
            .route("/v2/agent/{id}/stop", post(writes::stop_agent))
            .route("/v2/agent/{id}/executions", get(executions))
            .route("/call", post(writes::call))
            .route("/executions/{id}", get(execution))
            .merge(neighbors::routes())
            .fallback(|| async { Refusal::NotFound("Path") })
            .method_not_allowed_fallback(|| async { Refusal::Method })
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .layer(middleware::from_fn_with_state(self.clone(), admit))
            .with_state(self.clone())
    }
}

async fn executions(
    State(simulator): State<Simulator>,
    Extension(request): Extension<SeenRequest>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = ListQuery::read(&query.unwrap_or_default(), simulator.inner.window)?;
    let agent = agent_with_id(&simulator, &id)?;
    let found = simulator.inner.world.page(
        &agent,
        Ask {
            filters: &query.filters,
            bounds: (
                query.from.map_or(i64::MIN, Timestamp::as_micros),
                query.to.map_or(i64::MAX, Timestamp::as_micros),
            ),
            page: query.page,
            ties: simulator.inner.ties,
            request: request.number ^ simulator.inner.seed,
            now: 0,
            commit_lag: 0,
        },
    );
    Ok(json(page(&simulator, &agent, &query, &found)))
}

/// A page's body.
fn page(simulator: &Simulator, agent: &Agent, query: &ListQuery, found: &Found) -> Vec<u8> {
    let mut body = Vec::with_capacity(512 + found.rows.len() * ROW_GUESS);
    let (number, size, total) = (query.page.number, query.page.size, found.matching);
    let has_more = query.page.end() < total;
    let _ = write!(
        body,
        "{{\"page_number\":{number},\"page_size\":{size},\"total\":{total},\"has_more\":{has_more}"
    );
    body.extend_from_slice(b",\"data\":[");
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
    body.extend_from_slice(br#"},"sorts":{"created_at":"desc"}}"#);
    body
}

async fn agents(State(simulator): State<Simulator>) -> Response {
    let objects: Vec<_> = simulator.inner.world.agents().iter().map(|agent| describe(agent)).collect();
    json(format!("[{}]", objects.join(",")).into_bytes())
}

async fn agent(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let agent = agent_with_id(&simulator, &id)?;
    Ok(json(describe(&agent).into_bytes()))
}

async fn execution(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let world = &simulator.inner.world;
    let found = world.execution(&id);
    let (agent, record, standing) = found.ok_or(Refusal::NotFound("Execution"))?;
    let mut body = Vec::with_capacity(ROW_GUESS);
    world.write(&agent, &(record, standing), &mut body);
    Ok(json(body))
}

/// An agent's object.
fn describe(agent: &Agent) -> String {
    let profile = agent.profile();
    let [created_at, updated_at] = [agent.created_at, profile.updated_at].map(|at| stamped(at.as_micros()));
    let name = Value::from(profile.name.as_str());
    let welcome = Value::from(profile.welcome_message.as_str());
    let prompts = profile.prompts.as_ref().map_or(PROMPTS, |prompts| prompts.get());
    format!(
        "{{\"id\":\"{}\",\"agent_name\":{name},\"agent_type\":\"other\",\"agent_status\":\"processed\",\"created_at\":\"{created_at}\",\"updated_at\":\"{updated_at}\",\"agent_welcome_message\":{welcome},\"webhook_url\":null,\"tasks\":[{{\"task_type\":\"conversation\"}}],\"agent_prompts\":{prompts}}}",
        agent.id
    )
}
