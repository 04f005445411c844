//! A stand-in for upstream that can be told how to behave.
//!
//! It answers what the executions API of upstream answers, over HTTP, from a world that is drawn from a seed: the
//! same seed gives the same agents, calls and bytes. A row is not stored. What is kept of it are 32 bytes (when it was
//! made, its serial, what filters may ask for), and everything else is drawn from the serial when somebody asks, so a
//! million executions cost 32 MB and a page costs a page.
//!
//! # Flow
//! [`routes`] is the whole space of URLs. Each request passes [`admission`]: it is logged, meets the [`faults`], shows
//! its key, is counted by the [`limit`], and waits for the latency. A list is read from its [`query`] and cut by
//! [`paging`] from the agent's [`rows`], whose instants [`layout`] drew and whose calls proceed by their [`life`];
//! [`row`] writes them.
//!
//! # Time
//! The calls of an agent that is not live lie before the epoch and stand still there. A live one has new calls from the
//! epoch on, and all its calls proceed with the clock. Nothing runs behind the requests: where a call stands is worked
//! out for the instant of the question.
//!
//! # Fault scripts
//! One rule a line, `#` begins a comment. A line is a fault and then, in any order, when it strikes and how:
//!
//! ```text
//! 429 retry-after=2s request=3..7
//! reset page=2 times=1
//! slow=3s path=/v2/agent/ share=5%
//! hang query=status=completed
//! 503 every=10
//! ```
//!
//! Faults: a status from 400 to 599, `reset`, `hang`, `truncate`, `html`, `error-body`, `empty-page` (with `has_more`), `slow=LENGTH` (the body dribbles
//! in), `delay=LENGTH`. Conditions, of which all must hold: `request=N`, `request=N..M` or `request=N..` (from 1),
//! `every=N`, `page=N` (of lists), `path=START`, `query=PART`, `share=N%` (or a number from 0 to 1), `times=N` (at most so
//! often). The first rule that applies wins.
//!
//! # Other paths
//! [`neighbors`] answers what else clients read (an execution's log, batches, phone numbers, voices, the account), and
//! [`writes`] accepts calls and changes of agents.
//!
//! # What is left out
//! Upstream's webhooks, and writes below its other paths. Where its contract is silent, [`Quirks`] has both ways.

mod admission;
mod answers;
mod clock;
mod dice;
mod edits;
mod facts;
mod faults;
mod ids;
mod layout;
mod life;
mod limit;
mod log;
mod neighbors;
mod page_asked;
mod paging;
mod query;
mod quirks;
mod record;
mod refusal;
mod routes;
mod row;
mod rows;
mod script;
mod serve;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod transcript;
mod trouble;
mod world;
mod writes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use clock::{Clock, ManualClock};
pub use edits::{Insertion, NotThere, TrueRow};
pub use faults::{Fault, FaultRule, Gate, When};
pub use log::SeenRequest;
pub use quirks::{
    AgentQuirk, CodingQuirk, DateQuirk, EmptyDataQuirk, EnvelopeQuirk, HasMoreQuirk, OrderQuirk,
    PageSizeQuirk, Quirks, StampForm, TieQuirk, TotalQuirk,
};
pub use script::{BadRule, parse_script};
pub use settings::{AcceptedKey, AgentPlan, Keys, Latency, Rate, RetryAfter, SimulatorSettings, WindowRule};
pub use status::CallStatus;

use crate::domain::{AgentId, Timestamp};
use faults::Faults;
use limit::Limiter;
use log::RequestLog;
use world::World;

/// A simulated upstream. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    world: World,
    keys: Keys,
    window: WindowRule,
    retry_after: RetryAfter,
    log_capacity: usize,
    log: Arc<RequestLog>,
    limiter: Limiter,
    faults: Faults,
    latency: Latency,
    rate: Option<Rate>,
    /// May be changed while the simulator runs.
    quirks: Mutex<Quirks>,
}

/// An agent of the simulator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedAgent {
    /// Its identifier.
    pub id: AgentId,
    /// What it is called.
    pub name: String,
    /// When it was made; no seeded or live call is older.
    pub created_at: Timestamp,
    /// How many executions it has now.
    pub executions: usize,
}

impl Simulator {
    /// Draws a world. Costs about a microsecond for each execution.
    pub fn new(settings: SimulatorSettings) -> Self {
        let world = World::new(&settings);
        let SimulatorSettings {
            seed,
            keys,
            window,
            rate,
            retry_after,
            latency,
            faults,
            quirks,
            log_capacity,
            ..
        } = settings;
        let inner = Inner {
            seed,
            world,
            keys,
            window,
            retry_after,
            log_capacity,
            log: Arc::default(),
            limiter: Limiter::default(),
            faults: Faults::new(faults),
            latency,
            rate,
            quirks: Mutex::new(quirks),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The agents that are there, in the order of their plans.
    pub fn agents(&self) -> Vec<SimulatedAgent> {
        let world = &self.inner.world;
        let agent = |agent: &Arc<world::Agent>| SimulatedAgent {
            id: agent.id,
            name: agent.profile().name,
            created_at: agent.created_at,
            executions: world.rows(agent).len(),
        };
        world.agents().iter().map(agent).collect()
    }

    /// How the contract's open corners are.
    pub fn quirks(&self) -> Quirks {
        *self.quirks_lock()
    }

    /// Changes how the contract's open corners are.
    pub fn set_quirks(&self, quirks: Quirks) {
        *self.quirks_lock() = quirks;
    }

    /// Adds a fault after those there are.
    pub fn add_fault(&self, rule: FaultRule) {
        self.inner.faults.add(rule);
    }

    /// The latest requests, oldest first, as many as the settings say are remembered.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.inner.log.latest()
    }

    /// How many requests there were, answered or not.
    pub fn request_count(&self) -> u64 {
        self.inner.log.count()
    }

    /// How many requests were in flight at once, at most.
    pub fn most_in_flight(&self) -> usize {
        self.inner.log.most_in_flight()
    }

    fn quirks_lock(&self) -> MutexGuard<'_, Quirks> {
        self.inner.quirks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
