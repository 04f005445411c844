/// The statuses that upstream documents, and `prepared`, which rows carry without that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are upstream's own words, see `as_str`")]
pub enum CallStatus {
    Scheduled,
    Prepared,
    Queued,
    Rescheduled,
    Initiated,
    Ringing,
    InProgress,
    CallDisconnected,
    Completed,
    BalanceLow,
    Busy,
    NoAnswer,
    Canceled,
    Failed,
    Stopped,
    Error,
}

impl CallStatus {
    /// Every status.
    pub const ALL: [Self; 16] = [
        Self::Scheduled,
        Self::Prepared,
        Self::Queued,
        Self::Rescheduled,
        Self::Initiated,
        Self::Ringing,
        Self::InProgress,
        Self::CallDisconnected,
        Self::Completed,
        Self::BalanceLow,
        Self::Busy,
        Self::NoAnswer,
        Self::Canceled,
        Self::Failed,
        Self::Stopped,
        Self::Error,
    ];

    /// Upstream's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Prepared => "prepared",
            Self::Queued => "queued",
            Self::Rescheduled => "rescheduled",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::CallDisconnected => "call-disconnected",
            Self::Completed => "completed",
            Self::BalanceLow => "balance-low",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// The status of this name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether somebody spoke, or speaks.
    pub(super) const fn has_conversation(self) -> bool {
        matches!(self, Self::InProgress | Self::CallDisconnected | Self::Completed)
    }

    /// Whether the call is over, whatever may come of it yet.
    pub(super) const fn is_over(self) -> bool {
        match self {
            Self::CallDisconnected
            | Self::Completed
            | Self::BalanceLow
            | Self::Busy
            | Self::NoAnswer
            | Self::Canceled
            | Self::Failed
            | Self::Stopped
            | Self::Error => true,
            Self::Scheduled
            | Self::Prepared
            | Self::Queued
            | Self::Rescheduled
            | Self::Initiated
            | Self::Ringing
            | Self::InProgress => false,
        }
    }
}
