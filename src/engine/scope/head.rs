use crate::domain::Timestamp;

/// The latest reading that reached the present.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct ScopeHead {
    /// The last instant that it requested, by upstream's clock.
    pub(in crate::engine) to: Timestamp,
    /// When that was the present, by our clock, or when it was requested, if that was earlier.
    pub(in crate::engine) read_at: Timestamp,
}
