//! A simulated upstream with configurable behavior.
//!
//! It serves upstream's API over HTTP, from data drawn from a seed: the same seed gives the same agents, calls and bytes. Of
//! each row, 32 bytes are stored (its creation date, its serial, and the values that filters select by); everything else is
//! drawn from the serial on request. A million executions take 32 MB, and the cost of a page does not depend on their number.
//!
//! # Flow
//! [`routes`] has all paths. [`admission`] numbers each request, applies the [`faults`], checks the key and the rate
//! [`limit`], and adds the latency. [`query`] parses the query of a list, and [`paging`] selects a page of the agent's
//! [`rows`]. [`layout`] draws when they were created, [`life`] draws how their calls proceed, and [`row`] writes them.
//!
//! # Time
//! The calls of an agent that is not live are older than the epoch and do not change. A live agent has new calls from the
//! epoch on, and all its calls proceed with the clock. There are no background tasks: the state of a call is computed for
//! the instant of the request.
//!
//! # Fault scripts
//! One rule per line; `#` begins a comment. A line is a fault, followed by conditions and parameters in any order:
//!
//! ```text
//! 429 retry-after=2s request=3..7
//! reset page=2 times=1
//! slow=3s path=/v2/agent/ share=5%
//! hang query=status=completed
//! 503 every=10
//! ```
//!
//! Faults: a status from 400 to 599, `reset`, `hang`, `truncate`, `html`, `error-body`, `empty-page` (with `has_more`),
//! `slow=LENGTH` (the body arrives slowly), `delay=LENGTH`. Conditions, all of which must hold: `request=N`, `request=N..M`
//! or `request=N..` (from 1), `every=N`, `page=N` (of lists), `path=START`, `query=PART`, `share=N%` (or a number from 0
//! to 1), `times=N` (at most this often). The first rule that applies wins.
//!
//! # Other paths
//! [`neighbors`] serves other paths that clients read (an execution's log, batches, phone numbers, voices, the account), and
//! [`writes`] accepts calls and changes to agents.
//!
//! # Not simulated
//! Upstream's webhooks, and writes to its other paths. Where upstream's contract leaves a choice, the simulator behaves as
//! observed most often; the scripted upstream of the engine's tests has the other variants.

mod admission;
mod answers;
mod clock;
mod dice;
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
#[cfg(test)]
mod truth;
mod world;
mod writes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use clock::{Clock, ManualClock};
pub use faults::{Fault, FaultRule, When};
pub use script::{BadRule, parse_script};
pub use settings::{AgentPlan, Latency, Rate, RetryAfter, SimulatorSettings, TieOrder, WindowRule};
#[cfg(test)]
pub(crate) use truth::TrueRow;

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
    /// The number of requests received so far.
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
    /// The identifier.
    pub id: AgentId,
    /// The name.
    pub name: String,
    /// When the agent was created; no call is older.
    pub created_at: Timestamp,
    /// The present number of executions.
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

    /// The agents, in the order of their plans.
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
}
