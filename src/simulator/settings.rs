use std::time::Duration;

use super::clock::Clock;
use super::faults::FaultRule;
use crate::domain::Timestamp;

/// The turns of ten minutes, which make rows of up to 40 KB, the largest observed.
const MOST_TURNS: u64 = 56;

/// The settings of a simulated upstream.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// The seed of all data: the same seed gives the same agents and calls.
    pub seed: u64,
    /// The instant before which seeded calls are and from which on live calls are; `None` for the start of the process. With a
    /// fixed epoch, the bytes of rows are the same in every run.
    pub epoch: Option<Timestamp>,
    /// The clock of the calls.
    pub clock: Clock,
    /// The agents.
    pub agents: Vec<AgentPlan>,
    /// Whether `from` and `to` are required.
    pub window: WindowRule,
    /// The most requests in any span of some length; `None` for no limit.
    pub rate: Option<Rate>,
    /// Whether a 429 has a `Retry-After`.
    pub retry_after: RetryAfter,
    /// How long a response takes.
    pub latency: Latency,
    /// The most turns of a conversation. Turns make up most of a row's bytes.
    pub most_turns: u64,
    /// The maximum time from a live call's `created_at` until it is visible.
    pub commit_lag: Duration,
    /// The faults. The first rule that applies wins.
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

/// The properties of one agent.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// The name; `None` for a default one.
    pub name: Option<String>,
    /// The number of calls at the epoch, at most a billion. Each takes 32 bytes of memory.
    pub executions: u32,
    /// How far back the calls reach.
    pub span: Duration,
    /// The mean time between new calls; `None` for an agent that does not change after the epoch, so that its unfinished calls
    /// never finish.
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
    /// Both are required, at most this far apart; anything else is refused with 400.
    Required(Duration),
    /// Neither is required, and they may be any distance apart.
    Optional,
}

/// Both are required, at most 7 × 24 hours apart, as upstream's reference said in mid-2026.
impl Default for WindowRule {
    fn default() -> Self {
        Self::Required(Duration::from_secs(7 * 86_400))
    }
}

/// The order of rows that were created at the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieOrder {
    /// Different with every request, as in a database without a tie-breaker.
    #[default]
    Unstable,
    /// Always the same.
    Stable,
}

/// A rate limit over a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The most requests.
    pub requests: usize,
    /// The length of the window.
    pub per: Duration,
}

/// Whether a 429 has a `Retry-After`, which upstream's documentation does not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// No.
    Absent,
    /// Yes, in whole seconds, rounded up.
    Seconds,
}

/// How long a response takes, drawn between two limits for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The lower limit.
    pub least: Duration,
    /// The upper limit.
    pub most: Duration,
}
