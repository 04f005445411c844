use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{Span, Timestamp};
use crate::tier::{ScopeChanges, week_of};

/// With more forgotten spans than this the span of all of them is forgotten.
const MOST_FORGOTTEN: usize = 64;

/// What changed in a scope since it was saved last.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) weeks: BTreeSet<i64>,
    /// Of what is kept of these spans nothing is true any more, unless it is known again.
    pub(super) forgotten: Vec<Span>,
}

/// What is being saved.
pub(in crate::engine) struct Saving {
    pub(in crate::engine) changes: Arc<ScopeChanges>,
    pub(super) weeks: BTreeSet<i64>,
}

impl Unsaved {
    /// Notes that what is known of a span changed.
    pub(super) fn change(&mut self, span: Span) {
        self.weeks.extend(week_of(span.from())..=week_of(span.to()));
        self.forget(span);
    }

    /// Notes that nothing is known any more.
    pub(super) fn forget_all(&mut self) {
        self.weeks.clear();
        self.forgotten = Span::new(Timestamp::MIN, Timestamp::MAX).into_iter().collect();
    }

    pub(super) fn forget(&mut self, span: Span) {
        if self.forgotten.iter().any(|known| known.covers(span)) {
            return;
        }
        self.forgotten.retain(|known| !span.covers(*known));
        self.forgotten.push(span);
        if self.forgotten.len() > MOST_FORGOTTEN {
            self.forgotten = self.forgotten.drain(..).reduce(Span::union).into_iter().collect();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weeks.is_empty() && self.forgotten.is_empty()
    }
}
