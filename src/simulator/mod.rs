//! A simulated upstream whose behavior can be set.
//!
//! It serves upstream's executions API over HTTP, from data drawn from a seed: the same seed gives the same
//! agents, calls and bytes. Rows are not stored. Each one takes 32 bytes (when it was created, its serial,
//! and the values that filters may select); everything else is drawn from the serial on request. A million
//! executions take 32 MB, and a page costs only itself.
//!
//! # Flow
//! [`routes`] is the complete URL space. Each request passes [`admission`]: it is numbered, meets the
//! [`faults`], shows its key, is counted by the [`limit`], and waits for the latency. A list is parsed from
//! its [`query`] and cut by [`paging`] from the agent's [`rows`], whose instants are drawn by [`layout`] and
//! whose calls proceed by their [`life`]; [`row`] writes them.
//!
//! # Time
//! The calls of an agent that is not live are older than the epoch and do not change. A live agent has new
//! calls from the epoch on, and all its calls proceed with the clock. There are no background tasks: the
//! state of a call is computed for the instant of the request.
//!
//! # Fault scripts
//! One rule per line; `#` begins a comment. A line is a fault, followed in any order by conditions and
//! parameters:
//!
//! ```text
//! 429 retry-after=2s request=3..7
//! reset page=2 times=1
//! slow=3s path=/v2/agent/ share=5%
//! hang query=status=completed
//! 503 every=10
//! ```
//!
//! Faults: a status from 400 to 599, `reset`, `hang`, `truncate`, `html`, `error-body`, `empty-page` (with
//! `has_more`), `slow=LENGTH` (the body arrives slowly), `delay=LENGTH`. Conditions, all of which must hold:
//! `request=N`, `request=N..M` or `request=N..` (from 1), `every=N`, `page=N` (of lists), `path=START`,
//! `query=PART`, `share=N%` (or a number from 0 to 1), `times=N` (at most this often). The first rule that
//! applies wins.
//!
//! # Other paths
//! [`neighbors`] serves what else clients read (an execution's log, batches, phone numbers, voices, the
//! account), and [`writes`] accepts calls and changes to agents.
//!
//! # What is left out
//! Upstream's webhooks, and writes to its other paths. Where its contract is silent, the simulator behaves as
//! was seen most often; the scripted upstream of the engine's tests has the other variants.

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

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use clock::{Clock, ManualClock};
pub use edits::{Insertion, NotThere, TrueRow};
pub use faults::{Fault, FaultRule, Gate, When};
pub use script::{BadRule, parse_script};
pub use settings::{AgentPlan, Latency, Rate, RetryAfter, SimulatorSettings, TieOrder, WindowRule};
pub use status::CallStatus;

use crate::domain::{AgentId, Timestamp};
use faults::Faults;
use limit::Limiter;
use world::World;

/// A simulated upstream. Clones share one state.
#[derive(Clone, Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    world: World,
    window: WindowRule,
    retry_after: RetryAfter,
    /// How many requests were received.
    requests: AtomicU64,
    limiter: Limiter,
    faults: Faults,
    latency: Latency,
    rate: Option<Rate>,
    ties: TieOrder,
}

/// A simulated agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedAgent {
    /// Its identifier.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// When it was created; no seeded or live call is older.
    pub created_at: Timestamp,
    /// How many executions it has now.
    pub executions: usize,
}

impl Simulator {
    /// Draws the agents and their calls. Costs about a microsecond for each execution.
    pub fn new(settings: SimulatorSettings) -> Self {
        let world = World::new(&settings);
        let SimulatorSettings { seed, window, rate, retry_after, latency, faults, ties, .. } = settings;
        let inner = Inner {
            seed,
            world,
            window,
            retry_after,
            requests: AtomicU64::new(0),
            limiter: Limiter::default(),
            faults: Faults::new(faults),
            latency,
            rate,
            ties,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The agents that exist, in the order of their plans.
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

    /// Adds a fault after the others.
    pub fn add_fault(&self, rule: FaultRule) {
        self.inner.faults.add(rule);
    }
}
