//! What is read from the tier when metrics are scraped.

use std::fmt;
use std::time::Duration;

use super::readings_writer::ReadingsWriter;

/// What the tier holds, and what it did since the start.
#[derive(Clone, Debug, Default)]
pub struct TierReadings {
    /// Whether it is used.
    pub state: TierStateReading,
    /// Bytes it may hold.
    pub capacity: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Files that were looked for, by outcome.
    pub files: Vec<(&'static str, u64)>,
    /// Writes by outcome.
    pub saves: Vec<(&'static str, u64)>,
    /// Requests that were sent before their times were on the disk.
    pub late_times: u64,
    /// Scopes and weeks that were removed to make room.
    pub evictions: u64,
    /// Seconds spent on its files, by operation.
    pub seconds: Vec<(&'static str, f64)>,
    /// What only a server counts.
    pub server: TierServerReadings,
}

/// What is counted of a tier that several processes share; zeros for a directory.
#[derive(Clone, Debug)]
pub struct TierServerReadings {
    /// Connections that were replaced.
    pub reconnects: u64,
    /// Writes that were merged again because another process was faster.
    pub conflicts: u64,
    /// Claims of reads by outcome.
    pub claims: Vec<(&'static str, u64)>,
    /// The shared budget.
    pub budget: SharedBudgetReadings,
}

impl Default for TierServerReadings {
    fn default() -> Self {
        Self {
            reconnects: 0,
            conflicts: 0,
            claims: vec![("mine", 0), ("theirs", 0)],
            budget: SharedBudgetReadings::default(),
        }
    }
}

/// The budget that processes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedBudgetReadings {
    /// The processes seen that share it, this one included; 0 while the tier is away.
    pub members: u64,
    /// The requests that all of them have left; 0 before the tier was reached.
    pub left: u64,
    /// How often the server lost what it knew of the budget, since the start.
    pub epochs: u64,
    /// How long this process kept to its own share because the tier was away, since the start.
    pub alone: Duration,
}

/// Whether the tier is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierStateReading {
    /// It is used.
    #[default]
    Used,
    /// Another process writes there, or the server is away.
    Away,
    /// It can't be written.
    Failing,
}

impl TierReadings {
    /// Writes them as metrics.
    pub(super) fn write(&self, writer: &mut ReadingsWriter<'_>) -> fmt::Result {
        let state: u32 = match self.state {
            TierStateReading::Used => 0,
            TierStateReading::Away => 1,
            TierStateReading::Failing => 2,
        };
        writer.gauge(
            "fanfold_tier_state",
            "0 used, 1 another process writes there or the server is away, 2 can't be written",
            state,
        )?;
        writer.gauge("fanfold_tier_capacity_bytes", "Bytes the tier may hold", self.capacity)?;
        writer.gauge("fanfold_tier_bytes", "Bytes the tier holds", self.bytes)?;
        writer.counters(
            "fanfold_tier_files",
            "Files that were looked for, by outcome",
            "outcome",
            &self.files,
        )?;
        writer.counters("fanfold_tier_saves", "Writes to the tier by outcome", "outcome", &self.saves)?;
        let help = "Requests that were sent before their time was on the disk";
        writer.counter("fanfold_tier_late_times", help, self.late_times)?;
        writer.counter("fanfold_tier_evictions", "Scopes and weeks removed to make room", self.evictions)?;
        let help = "Time spent on the tier's files";
        writer.counters("fanfold_tier_busy_seconds", help, "operation", &self.seconds)?;
        let server = &self.server;
        let help = "Connections to the tier that were replaced";
        writer.counter("fanfold_tier_reconnects", help, server.reconnects)?;
        let help = "Writes that were merged again because another process was faster";
        writer.counter("fanfold_tier_conflicts", help, server.conflicts)?;
        let help = "Reads that were claimed, by outcome";
        writer.counters("fanfold_tier_claims", help, "outcome", &server.claims)?;
        let budget = &server.budget;
        let help = "Processes seen that share the budget, 0 while the tier is away";
        writer.gauge("fanfold_tier_members", help, budget.members)?;
        writer.gauge("fanfold_tier_budget_left", "Requests left to all processes", budget.left)?;
        let help = "How often what the server knew of the budget was lost";
        writer.counter("fanfold_tier_epochs", help, budget.epochs)?;
        let help = "Time in which this process kept to its own share of the budget";
        writer.counter("fanfold_tier_alone_seconds", help, budget.alone.as_secs_f64())
    }
}
