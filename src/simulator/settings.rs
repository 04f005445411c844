use std::time::Duration;

use super::clock::Clock;
use super::faults::FaultRule;
use crate::domain::Timestamp;

/// The turns of ten minutes: rows of up to 40 KB, as the largest that were seen.
const MOST_TURNS: u64 = 56;

/// The settings of a simulated upstream.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// What everything is drawn from: the same seed gives the same agents and calls.
    pub seed: u64,
    /// The instant that the seeded calls precede and at which the live ones begin; `None` for the start of
    /// the process. With a fixed epoch, the bytes of rows are the same in every run.
    pub epoch: Option<Timestamp>,
    /// The clock of the calls.
    pub clock: Clock,
    /// The agents and how many calls each has.
    pub agents: Vec<AgentPlan>,
    /// Whether `from` and `to` are required.
    pub window: WindowRule,
    /// The most requests in any span of some length; `None` for no limit.
    pub rate: Option<Rate>,
    /// Whether a 429 has a `Retry-After`.
    pub retry_after: RetryAfter,
    /// How long an answer takes.
    pub latency: Latency,
    /// The most turns of a conversation, which are most of a row's bytes.
    pub most_turns: u64,
    /// The maximum time from a live call's `created_at` until it is visible.
    pub commit_lag: Duration,
    /// What goes wrong, and when. The first rule that applies wins.
    pub faults: Vec<FaultRule>,
    /// The order of rows that were created at the same instant.
    pub ties: TieOrder,
}

/// One agent with five thousand calls in 30 days, no limit and no faults.
impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            epoch: None,
            clock: Clock::System,
            agents: vec![AgentPlan::default()],
            window: WindowRule::default(),
            rate: None,
            retry_after: RetryAfter::Absent,
            latency: Latency::default(),
            most_turns: MOST_TURNS,
            commit_lag: Duration::ZERO,
            faults: Vec::new(),
            ties: TieOrder::default(),
        }
    }
}

/// One agent's properties.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// Its name; `None` for one drawn from the seed.
    pub name: Option<String>,
    /// How many calls it has at the epoch; at most a thousand million, about 32 bytes of memory each.
    pub executions: u32,
    /// How far back they reach.
    pub span: Duration,
    /// The mean time between new calls; `None` for an agent that does not change after the epoch, so that its
    /// unfinished calls never finish.
    pub live: Option<Duration>,
}

impl Default for AgentPlan {
    fn default() -> Self {
        Self { name: None, executions: 5_000, span: Duration::from_secs(30 * 86_400), live: None }
    }
}

/// Whether `from` and `to` are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowRule {
    /// Both, no farther apart than this; anything else is refused with 400.
    Required(Duration),
    /// Neither; any distance will do.
    Optional,
}

/// Both are, 7 × 24 hours apart at most, as the reference page of mid-2026 says.
impl Default for WindowRule {
    fn default() -> Self {
        Self::Required(Duration::from_secs(7 * 86_400))
    }
}

/// The order of rows that were created at the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieOrder {
    /// Another one at every request, as in a database without a tie-breaker.
    #[default]
    Unstable,
    /// Always the same.
    Stable,
}

/// A number of requests in any span of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The most requests.
    pub requests: usize,
    /// In any span of this length.
    pub per: Duration,
}

/// Whether a 429 has a `Retry-After`, which upstream's documentation does not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// It does not.
    Absent,
    /// In whole seconds, rounded up.
    Seconds,
}

/// How long a response takes: a time between two limits, drawn for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// At least this.
    pub least: Duration,
    /// At most this.
    pub most: Duration,
}
