use crate::domain::Timestamp;

/// The latest reading that went up to the present.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct ScopeHead {
    /// The last instant it asked for, by upstream's clock.
    pub(in crate::engine) to: Timestamp,
    /// When that was the present, by ours, or when it was asked, if that was earlier.
    pub(in crate::engine) read_at: Timestamp,
}
