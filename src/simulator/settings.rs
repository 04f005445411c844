use std::time::Duration;

use super::faults::FaultRule;
use crate::domain::Timestamp;

/// The turns of ten minutes: rows of up to 40 KB, as the largest that were seen.
const MOST_TURNS: u64 = 56;

/// The settings of a simulated upstream.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// Everything is drawn from it: the same seed gives the same agents and calls.
    pub seed: u64,
    /// The end of the seeded history, and the start of the live one; `None` for the start of the process. With a given
    /// epoch, rows have the same bytes in every run.
    pub epoch: Option<Timestamp>,
    /// The agents.
    pub agents: Vec<AgentPlan>,
    /// Whether `from` and `to` are required.
    pub window: WindowRule,
    /// The maximum requests in any span of some length; `None` for no limit.
    pub rate: Option<Rate>,
    /// Whether a 429 has `Retry-After`.
    pub retry_after: RetryAfter,
    /// How long a response takes.
    pub latency: Latency,
    /// The maximum turns of a conversation, which make up most of a row's bytes.
    pub most_turns: u64,
    /// How long after its `created_at` a live call may first be shown; the delay of each call is drawn up to this.
    pub commit_lag: Duration,
    /// The faults. The first rule that applies wins.
    pub faults: Vec<FaultRule>,
    /// The order of rows with the same instant.
    pub ties: TieOrder,
}

/// One agent with five thousand calls in 30 days, without faults.
impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            epoch: None,
            agents: vec![AgentPlan::default()],
            window: WindowRule::Required,
            rate: None,
            retry_after: RetryAfter::Absent,
            latency: Latency::default(),
            most_turns: MOST_TURNS,
            commit_lag: Duration::ZERO,
            faults: Vec::new(),
            ties: TieOrder::Unstable,
        }
    }
}

/// The settings of one agent.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// Its name; `None` for one drawn from the seed.
    pub name: Option<String>,
    /// How many calls it has at the epoch: at most a billion, about 32 bytes of memory each.
    pub executions: u32,
    /// How far back they go.
    pub span: Duration,
    /// The mean time between new calls. `None` for an agent without new calls, whose unfinished calls never finish.
    pub live: Option<Duration>,
}

impl Default for AgentPlan {
    fn default() -> Self {
        Self { name: None, executions: 5_000, span: Duration::from_hours(30 * 24), live: None }
    }
}

/// Whether `from` and `to` are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowRule {
    /// Both are, at most 7 × 24 hours apart, as the reference page of mid-2026 says; anything else is refused with 400.
    Required,
    /// Neither is.
    Optional,
}

/// The order of rows with the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieOrder {
    /// Another one at each request, as upstream's.
    Unstable,
    /// Always the same.
    Stable,
}

/// A number of requests in any span of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The maximum number of requests.
    pub requests: usize,
    /// The length of the span.
    pub per: Duration,
}

/// Whether a 429 has `Retry-After`, which upstream's documentation does not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// It does not.
    Absent,
    /// It does, in whole seconds, rounded up.
    Seconds,
}

/// How long a response takes: drawn between two lengths for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// At least this.
    pub least: Duration,
    /// At most this.
    pub most: Duration,
}
