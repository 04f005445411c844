//! The agents and their rows: upstream's database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::clock::Clock;
use super::dice::Dice;
use super::ids;
use super::layout;
use super::life::Standing;
use super::record::Record;
use super::row::{self, RowDraft};
use super::rows::{Ask, Found, Rows};
use super::settings::{AgentPlan, SimulatorSettings};
use crate::domain::{AgentId, Timestamp};

/// All agents.
#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    epoch: i64,
    clock: Clock,
    commit_lag: i64,
    most_turns: u64,
    agents: RwLock<Vec<Arc<Agent>>>,
}

/// An agent.
#[derive(Debug)]
pub(super) struct Agent {
    number: u32,
    pub(super) id: AgentId,
    pub(super) created_at: Timestamp,
    pub(super) seed: u64,
    is_live: bool,
    is_gone: AtomicBool,
    profile: Mutex<Profile>,
    rows: Mutex<Rows>,
}

/// The properties of an agent that clients may change.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) welcome_message: String,
    /// JSON, as a client wrote it; none for the seeded prompt.
    pub(super) prompts: Option<Box<RawValue>>,
    pub(super) updated_at: Timestamp,
}

const NAMES: [&str; 8] = [
    "Appointment desk",
    "Order follow-up",
    "किस्त अनुस्मारक",
    "Lead qualifier",
    "Front desk – nights",
    "Feedback calls",
    "Delivery desk",
    "Renewals 🔔",
];

/// Rows older than this before the epoch carry ids in the form of upstream's early days.
const OLD_IDS_AFTER: i64 = 365 * 86_400 * 1_000_000;

/// The most seeded calls of one agent: serials above it belong to live and inserted ones.
const MAX_EXECUTIONS: u32 = 1_000_000_000;

impl World {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let epoch = settings.epoch.unwrap_or_else(|| settings.clock.now()).as_micros();
        let agents = (0u32..)
            .zip(&settings.agents)
            .map(|(number, plan)| Arc::new(Agent::new(settings.seed, number, epoch, plan)))
            .collect();
        Self {
            seed: settings.seed,
            epoch,
            clock: settings.clock.clone(),
            commit_lag: micros(settings.commit_lag),
            most_turns: settings.most_turns,
            agents: RwLock::new(agents),
        }
    }

    /// Every agent that still exists.
    pub(super) fn agents(&self) -> Vec<Arc<Agent>> {
        self.agents.read().iter().filter(|a| a.is_there()).cloned().collect()
    }

    /// The agent with this identifier.
    pub(super) fn agent(&self, id: AgentId) -> Option<Arc<Agent>> {
        let agents = self.agents.read();
        agents.iter().find(|agent| agent.id == id && agent.is_there()).cloned()
    }

    /// Creates an agent without calls. It is live: calls that are placed proceed with the clock.
    pub(super) fn create_agent(&self, name: String) -> Arc<Agent> {
        let mut agents = self.agents.write();
        let number = u32::try_from(agents.len()).unwrap_or(u32::MAX);
        let agent = Arc::new(Agent::created(self.seed, number, self.clock.now(), name));
        agents.push(Arc::clone(&agent));
        agent
    }

    /// The current time.
    pub(super) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The current time of an agent's calls, in microseconds.
    pub(super) fn now(&self, agent: &Agent) -> i64 {
        if agent.is_live { self.clock.now().as_micros() } else { self.epoch }
    }

    /// An agent's rows, grown up to now.
    pub(super) fn rows<'a>(&self, agent: &'a Agent) -> MutexGuard<'a, Rows> {
        let mut rows = agent.rows.lock();
        rows.grow(self.now(agent));
        rows
    }

    /// One page of an agent's rows; `now` and `commit_lag` in the question are set here.
    pub(super) fn page(&self, agent: &Agent, ask: Ask<'_>) -> Found {
        let ask = Ask { now: self.now(agent), commit_lag: self.commit_lag, ..ask };
        self.rows(agent).page(&ask)
    }

    /// The execution with this id, of any agent. Looks at all rows of one agent or, if the id was set by
    /// hand, of every agent.
    pub(super) fn execution(&self, id: &str) -> Option<(Arc<Agent>, Record, Standing)> {
        self.agents().into_iter().find_map(|agent| {
            let record = self.rows(&agent).find(self.has_id(&agent, id)).cloned()?;
            let standing = record.standing(agent.seed, self.now(&agent));
            Some((agent, record, standing))
        })
    }

    /// A test for an agent's row with this id.
    pub(super) fn has_id(&self, agent: &Agent, id: &str) -> impl Fn(&Record) -> bool {
        let drawn = match Uuid::try_parse(id) {
            Ok(uuid) => ids::read_row_uuid(self.seed, uuid)
                .and_then(|(number, serial)| (number == agent.number).then_some(serial)),
            Err(_) => ids::read_old_row_id(id).filter(|_| id.starts_with(&agent.id.to_string())),
        };
        move |record| match record.edit.as_ref().and_then(|edit| edit.id.as_deref()) {
            Some(given) => given == id,
            None => drawn == Some(record.serial),
        }
    }

    /// A row's id.
    pub(super) fn id(&self, agent: &Agent, record: &Record) -> String {
        match record.edit.as_ref().and_then(|edit| edit.id.as_deref()) {
            Some(id) => id.to_owned(),
            None if record.created_at < self.epoch - OLD_IDS_AFTER => {
                ids::old_row_id(agent.id, record.created_at, record.serial)
            }
            None => ids::row_uuid(self.seed, agent.number, record.serial).to_string(),
        }
    }

    /// Writes a row's bytes at the end of `out`.
    pub(super) fn write(&self, agent: &Agent, (record, standing): &(Record, Standing), out: &mut Vec<u8>) {
        if let Some(bytes) = record.edit.as_ref().and_then(|edit| edit.bytes.as_ref()) {
            out.extend_from_slice(bytes);
            return;
        }
        let mut text = String::with_capacity(8 * 1024);
        row::write(
            &RowDraft {
                agent: agent.id,
                agent_seed: agent.seed,
                serial: record.serial,
                id: &self.id(agent, record),
                created_at: record.created_at,
                facts: record.facts,
                edit: record.edit.as_deref(),
                status: record.status_word(standing),
                standing: *standing,
                most_turns: self.most_turns,
            },
            &mut text,
        );
        out.extend_from_slice(text.as_bytes());
    }
}

impl Agent {
    fn new(seed: u64, number: u32, epoch: i64, plan: &AgentPlan) -> Self {
        let agent_seed = Dice::of(&[seed, u64::from(number), 12]).bits();
        let span = micros(plan.span);
        let instants = layout::created_at(agent_seed, epoch, plan.executions.min(MAX_EXECUTIONS), span);
        let name = plan.name.clone().unwrap_or_else(|| {
            let name = NAMES[number as usize % NAMES.len()];
            if (number as usize) < NAMES.len() { name.to_owned() } else { format!("{name} {number}") }
        });
        let before = Dice::of(&[agent_seed, 13]).between(60_000_000, 3_600_000_000);
        let created_at = Timestamp::from_micros(epoch - span - before);
        Self {
            number,
            id: ids::agent_id(seed, number),
            created_at,
            seed: agent_seed,
            is_live: plan.live.is_some(),
            is_gone: AtomicBool::new(false),
            profile: Mutex::new(Profile::new(name, created_at)),
            rows: Mutex::new(Rows::new(
                agent_seed,
                &instants,
                epoch,
                plan.live.map(|gap| micros(gap).unsigned_abs()),
            )),
        }
    }

    /// An agent that a client creates.
    fn created(seed: u64, number: u32, now: Timestamp, name: String) -> Self {
        let agent_seed = Dice::of(&[seed, u64::from(number), 12]).bits();
        Self {
            number,
            id: ids::agent_id(seed, number),
            created_at: now,
            seed: agent_seed,
            is_live: true,
            is_gone: AtomicBool::new(false),
            profile: Mutex::new(Profile::new(name, now)),
            rows: Mutex::new(Rows::new(agent_seed, &[], now.as_micros(), None)),
        }
    }

    fn is_there(&self) -> bool {
        !self.is_gone.load(Ordering::SeqCst)
    }

    /// The current profile.
    pub(super) fn profile(&self) -> Profile {
        self.profile.lock().clone()
    }

    /// Changes the profile.
    pub(super) fn change_profile(&self, change: impl FnOnce(&mut Profile)) {
        change(&mut self.profile.lock());
    }

    /// Deletes the agent and its rows.
    pub(super) fn vanish(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }
}

impl Profile {
    /// A profile as it is drawn: an agent is set up within a minute of its creation.
    fn new(name: String, created_at: Timestamp) -> Self {
        let updated_at = Timestamp::from_micros(created_at.as_micros() + 60_000_000);
        Self { name, welcome_message: "Hello!".to_owned(), prompts: None, updated_at }
    }
}

/// At most three hundred years, so that instants stay within range.
fn micros(length: Duration) -> i64 {
    const MOST: i64 = 300 * 365 * 86_400 * 1_000_000;
    i64::try_from(length.as_micros()).map_or(MOST, |micros| micros.min(MOST))
}
