/// An instant or a duration in milliseconds, by this process's clock or the server's.
pub(super) type Millis = i64;

/// How long a member counts as seen after it sent its last call.
pub(super) const SEEN: Millis = 1000;

/// The longest time between two calls of a member.
pub(super) const PULSE: Millis = 250;

/// The longest time that a request is assumed to travel.
const LONGEST_WAY: Millis = 1000;

/// As a divisor, the largest part of the period that [`LONGEST_WAY`] may take, so that short periods keep most of their rate.
const WAY_PART: Millis = 20;

/// Covers the drift of two clocks within a period, and instants truncated to milliseconds.
const SLACK: Millis = 10;

/// As a divisor, the part of the rate that may be sent within a second. It bounds what a member does not know of the others,
/// since its knowledge is up to a second old.
const AT_ONCE_PART: u32 = 4;

/// As a divisor, the part of its share that a young process may use. Upstream's limit is a tenth above the rate.
const YOUNG_PART: u32 = 10;

/// What the processes that share a budget must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetTerms {
    /// How many requests upstream may see in any span of the period.
    pub rate: u32,
    /// The period in milliseconds.
    pub period: i64,
    /// How many processes share it.
    pub replicas: u32,
    /// The longest wait for the server in milliseconds.
    pub timeout: i64,
}

impl BudgetTerms {
    /// How long a request counts: the period, and as long as the permission and the request may travel, because upstream sees
    /// the request that much later.
    pub(super) fn keep(&self) -> Millis {
        self.period + self.timeout + LONGEST_WAY.min(self.period / WAY_PART) + SLACK
    }

    /// The most permissions within a second.
    pub(super) fn at_once(&self) -> u32 {
        (self.rate / AT_ONCE_PART).max(1)
    }

    /// The share of one of `parts` processes.
    pub(super) fn share(&self, parts: u32) -> u32 {
        self.rate / parts.max(1)
    }

    /// The share of a young process, which does not know what its predecessor sent.
    pub(super) fn young_share(&self, parts: u32) -> u32 {
        self.share(parts) / YOUNG_PART
    }
}
