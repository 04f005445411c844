use crate::domain::{AgentFacts, Timestamp};
use crate::tier::CellHead;

/// The latest reading that reached the present.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct ScopeHead {
    /// The last instant that it requested, by upstream's clock.
    pub(in crate::engine) to: Timestamp,
    /// When that was the present, by our clock, or when it was requested, if that was earlier.
    pub(in crate::engine) read_at: Timestamp,
}

impl ScopeHead {
    /// As the tier keeps it.
    pub(super) const fn to_cell(self, agent: Option<AgentFacts>) -> CellHead {
        CellHead { to: self.to, read_at: self.read_at, agent }
    }

    /// As the tier kept it.
    pub(super) const fn of_cell(head: CellHead) -> Self {
        Self { to: head.to, read_at: head.read_at }
    }
}
