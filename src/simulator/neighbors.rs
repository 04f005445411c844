//! Other paths that clients read: logs, batches, phone numbers, voices, the account.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json as value};

use super::Simulator;
use super::answers::{agent_with_id, json, reply};
use super::dice::Dice;
use super::life::Standing;
use super::page_asked::PageAsked;
use super::record::Record;
use super::refusal::Refusal;
use super::row::stamped;
use super::rows::Ask;
use super::settings::TieOrder;
use super::world::Agent;
use crate::domain::{BatchId, Filters};

/// The voices of every account.
const VOICES: [(&str, &str, &str, &str); 4] = [
    ("V9LCAAi4tTlqe9JadbCo", "Nila", "elevenlabs", "eleven_turbo_v2_5"),
    ("Matthew", "Matthew", "polly", "generative"),
    ("95856005-0332-41b0-935f-352e296aa0df", "Ananya", "cartesia", "sonic-2"),
    ("anushka", "Anushka", "sarvam", "bulbul:v2"),
];

/// The parts of an agent that write into an execution's log, and their providers.
const COMPONENTS: [(&str, &str); 3] =
    [("transcriber", "deepgram"), ("llm", "openai"), ("synthesizer", "elevenlabs")];

/// A row and the state of its call.
type Row = (Record, Standing);

/// The paths, relative to the root.
pub(super) fn routes() -> Router<Simulator> {
    let empty = || async { json(b"[]".to_vec()) };
    Router::new()
        .route("/executions/{id}/log", get(log))
        .route("/batches/{id}", get(batch))
        .route("/batches/{id}/all", get(batches))
        .route("/batches/{id}/executions", get(batch_executions))
        .route("/phone-numbers/all", get(phone_numbers))
        .route("/phone-numbers/search", get(numbers_for_sale))
        .route("/me/voices", get(voices))
        .route("/user/me", get(me))
        .route("/providers", get(empty))
        .route("/knowledgebase/all", get(empty))
        .route("/sip-trunks/trunks", get(empty))
        .route("/sub-accounts/all", get(empty))
        .route("/sub-accounts/all/usage", get(empty))
        .route("/violations/list", get(violations))
}

async fn log(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let found = simulator.inner.world.execution(&id);
    let (agent, record, standing) = found.ok_or(Refusal::NotFound("Execution"))?;
    let mut dice = Dice::of(&[agent.seed, u64::from(record.serial), 21]);
    let turns = if standing.status.has_conversation() { dice.between(2, 12) } else { 0 };
    let mut at = standing.started_at.unwrap_or(record.created_at);
    let mut entries = Vec::new();
    for turn in 1..=turns {
        for (component, provider) in COMPONENTS {
            for kind in ["request", "response"] {
                at += dice.between(20_000, 900_000);
                entries.push(value!({
                    "created_at": stamped(at),
                    "type": kind,
                    "component": component,
                    "provider": provider,
                    "data": format!("{component} {kind}, turn {turn}"),
                }));
            }
        }
    }
    Ok(reply(&value!({ "status": "success", "data": entries })))
}

async fn batches(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let agent = agent_with_id(&simulator, &id)?;
    let mut by_batch: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows(&simulator, &agent, &Filters::default()) {
        if let Some(batch) = row.0.batch_id(agent.seed) {
            by_batch.entry(batch).or_default().push(row);
        }
    }
    let mut batches: Vec<_> = by_batch.iter().collect();
    // Newest first, like their rows.
    batches.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.last().map(|(record, _)| record.created_at)));
    Ok(reply(&batches.into_iter().map(|(id, rows)| describe(id, rows)).collect()))
}

async fn batch(State(simulator): State<Simulator>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let (_, rows) = rows_of_batch(&simulator, &id)?;
    let id: String = id.chars().filter(|c| *c != '-').collect();
    Ok(reply(&describe(&id, &rows)))
}

async fn batch_executions(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (agent, rows) = rows_of_batch(&simulator, &id)?;
    let mut body = vec![b'['];
    for row in &rows {
        if body.len() > 1 {
            body.push(b',');
        }
        simulator.inner.world.write(&agent, row, &mut body);
    }
    body.push(b']');
    Ok(json(body))
}

/// A batch's rows, newest first, and their agent. Looks at all rows of all agents.
fn rows_of_batch(simulator: &Simulator, id: &str) -> Result<(std::sync::Arc<Agent>, Vec<Row>), Refusal> {
    let batch: BatchId = id.parse().map_err(|_| Refusal::NotFound("Batch"))?;
    let filters = Filters { batch_id: Some(batch), ..Filters::default() };
    simulator
        .inner
        .world
        .agents()
        .into_iter()
        .find_map(|agent| {
            let rows = rows(simulator, &agent, &filters);
            (!rows.is_empty()).then_some((agent, rows))
        })
        .ok_or(Refusal::NotFound("Batch"))
}

fn rows(simulator: &Simulator, agent: &Agent, filters: &Filters) -> Vec<Row> {
    let ask = Ask {
        filters,
        bounds: (i64::MIN, i64::MAX),
        page: PageAsked::WHOLE,
        ties: TieOrder::Stable,
        request: 0,
        now: 0,
        commit_lag: 0,
    };
    simulator.inner.world.page(agent, ask).rows
}

/// A batch's object; it has rows, newest first.
fn describe(id: &str, rows: &[Row]) -> Value {
    let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
    for (record, standing) in rows {
        *statuses.entry(record.status_word(standing)).or_default() += 1;
    }
    let created_at = rows.last().map_or(0, |(record, _)| record.created_at);
    let updated_at = rows.iter().map(|(_, standing)| standing.changed_at).max().unwrap_or(created_at);
    let is_over = rows.iter().all(|(_, standing)| standing.status.is_over());
    value!({
        "batch_id": id,
        "created_at": stamped(created_at),
        "updated_at": stamped(updated_at),
        "status": if is_over { "executed" } else { "queued" },
        "scheduled_at": null,
        "from_phone_numbers": ["+918000000000"],
        "file_name": "customers.csv",
        "valid_contacts": rows.len(),
        "total_contacts": rows.len(),
        "execution_status": statuses,
    })
}

/// One number for each agent.
async fn phone_numbers(State(simulator): State<Simulator>) -> Response {
    let number = |(nth, agent): (u64, std::sync::Arc<Agent>)| {
        let mut dice = Dice::of(&[agent.seed, 22]);
        let id = format!("{:016x}{:016x}", dice.bits(), dice.bits());
        value!({
            "id": id,
            "created_at": stamped(agent.created_at.as_micros()),
            "updated_at": stamped(agent.created_at.as_micros()),
            "renewal_at": "17th Dec, 2026",
            "phone_number": format!("+91{}", 8_000_000_000 + nth),
            "agent_id": agent.id.to_string(),
            "price": "$5.0",
            "telephony_provider": "plivo",
            "rented": true,
        })
    };
    reply(&(0u64..).zip(simulator.inner.world.agents()).map(number).collect())
}

async fn numbers_for_sale() -> Response {
    let number = |nth: u64| {
        value!({
            "region": "Karnataka", "friendly_name": null, "locality": null,
            "phone_number": format!("+91{}", 8_000_000_100 + nth), "provider": "plivo", "price": 5,
        })
    };
    reply(&(0..3).map(number).collect())
}

async fn voices(State(simulator): State<Simulator>) -> Response {
    let voice = |(nth, (voice_id, name, provider, model)): (u64, (&str, &str, &str, &str))| {
        let mut dice = Dice::of(&[simulator.inner.seed, nth, 23]);
        let id = uuid::Uuid::from_u64_pair(dice.bits(), dice.bits()).to_string();
        value!({ "id": id, "voice_id": voice_id, "provider": provider, "name": name, "model": model })
    };
    reply(&(0u64..).zip(VOICES).map(voice).collect())
}

async fn violations() -> Response {
    reply(&value!({ "data": [], "total": 0, "limit": 20, "offset": 0, "has_more": false }))
}

async fn me() -> Response {
    let name = "simulated";
    let seed = name.bytes().fold(24, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(byte));
    let mut dice = Dice::of(&[seed]);
    let id = uuid::Uuid::from_u64_pair(dice.bits(), dice.bits()).to_string();
    reply(&value!({
        "id": id,
        "name": name,
        "email": format!("{name}@example.com"),
        "wallet": 1234.5,
        "concurrency": { "max": 10, "current": 0 },
    }))
}
