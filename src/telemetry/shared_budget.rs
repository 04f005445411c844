use std::time::Duration;

/// The budget that processes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedBudgetReadings {
    /// The processes that share it and are seen, this one included; 0 while the tier is away.
    pub members: u64,
    /// The requests that are left to all of them; 0 before the tier was reached.
    pub left: u64,
    /// How often what was known of it was lost, since the start.
    pub epochs: u64,
    /// How long this process kept to its own share, because the tier was away, since the start.
    pub alone: Duration,
}
