use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{Span, Timestamp};
use crate::tier::{ForgottenSpan, ScopeChanges, weeks_in};

/// With more forgotten spans than this the span of all of them is forgotten.
const MOST_FORGOTTEN: usize = 64;

/// What changed in a scope since it was saved last.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) weeks: BTreeSet<i64>,
    /// Of what is kept of these spans nothing is true any more, unless it is known again.
    pub(super) forgotten: Vec<ForgottenSpan>,
}

/// What is being saved.
pub(in crate::engine) struct Saving {
    pub(in crate::engine) changes: Arc<ScopeChanges>,
    pub(in crate::engine) weeks: BTreeSet<i64>,
}

impl Unsaved {
    /// Notes that what is known of a span changed. What was read of it until that instant is no longer true.
    pub(super) fn change(&mut self, span: Span, until: Timestamp) {
        self.weeks.extend(weeks_in(span));
        self.forget(ForgottenSpan { span, until });
    }

    /// Notes that nothing is known any more.
    pub(super) fn forget_all(&mut self) {
        self.weeks.clear();
        let all = Span::new(Timestamp::MIN, Timestamp::MAX);
        self.forgotten = all.map(|span| ForgottenSpan { span, until: Timestamp::MAX }).into_iter().collect();
    }

    pub(super) fn forget(&mut self, gone: ForgottenSpan) {
        let covers = |one: &ForgottenSpan, other: &ForgottenSpan| {
            one.until >= other.until && one.span.covers(other.span)
        };
        if self.forgotten.iter().any(|known| covers(known, &gone)) {
            return;
        }
        self.forgotten.retain(|known| !covers(&gone, known));
        self.forgotten.push(gone);
        if self.forgotten.len() > MOST_FORGOTTEN {
            let both = |one: ForgottenSpan, other: ForgottenSpan| ForgottenSpan {
                span: one.span.union(other.span),
                until: one.until.max(other.until),
            };
            self.forgotten = self.forgotten.drain(..).reduce(both).into_iter().collect();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weeks.is_empty() && self.forgotten.is_empty()
    }
}
