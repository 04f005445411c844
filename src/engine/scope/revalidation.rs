use crate::domain::{Span, Statuses, Timestamp};
use crate::engine::freshness::{Class, Policy};
use crate::source::QuestionId;

/// A stale answer that is being refreshed.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Revalidation {
    pub(in crate::engine) number: QuestionId,
    pub(in crate::engine) span: Span,
    pub(in crate::engine) asked_at: Timestamp,
    pub(in crate::engine) policy: Policy,
    pub(in crate::engine) status: Option<Statuses>,
}

impl Revalidation {
    /// Whether its result will be fresh enough for another answer.
    pub(in crate::engine) fn serves(&self, other: &Self) -> bool {
        self.span.from() <= other.span.from()
            && (self.policy, &self.status) == (other.policy, &other.status)
            && !self.policy.is_past(self.asked_at, self.policy.ttl(Class::Live), other.asked_at)
    }
}
