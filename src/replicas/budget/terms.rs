/// Milliseconds of some clock: this process's, or the server's.
pub(super) type Millis = i64;

/// How long a member counts as seen after it sent its last call.
pub(super) const SEEN: Millis = 1000;

/// How often a member calls at least.
pub(super) const PULSE: Millis = 250;

/// The longest time that a request is assumed to travel.
const LONGEST_WAY: Millis = 1000;

/// The part of the period that may be lost because it is unknown when upstream saw a request, as a divisor.
const WAY_PART: Millis = 20;

/// How much two clocks may drift apart within a period, and more than a truncated instant is off.
const SLACK: Millis = 10;

/// The part of the rate that may be sent within a second, as a divisor. What a member knows of the others is a second old.
const AT_ONCE_PART: u32 = 4;

/// The part of its share that a process may use while it does not know what was sent before it, as a divisor. Upstream's limit
/// is a tenth above the rate.
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
    /// How long a request counts: upstream sees it later than it was permitted, by as long as the permission and the request
    /// may travel.
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

    /// The share of a process that does not know what was sent before it.
    pub(super) fn young_share(&self, parts: u32) -> u32 {
        self.rate / parts.max(1).saturating_mul(YOUNG_PART)
    }
}
