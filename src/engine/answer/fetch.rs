//! Fetches from the tier the bytes of rows that the store dropped, or that were read before this process
//! started.

use super::running::RunningAnswer;
use crate::domain::Span;
use crate::engine::terms::RowNeed;

/// The most entries that are fetched at once: about a page each.
const MOST_FETCHED: usize = 16;

impl RunningAnswer {
    /// Fetches the bytes of the rows at the top of a known span, if only the tier has them. Rows that it does
    /// not have are a gap from then on.
    pub(super) async fn fetch(&mut self, span: Span) {
        let context = &self.context;
        let parts = &*context.state.parts;
        let Some(tier) = &parts.tier else { return };
        let scope = &context.view.scope;
        if context.view.need == RowNeed::Facts {
            return;
        }
        let entries = scope.saved_only(span, &context.view.need, MOST_FETCHED);
        // Else what was fetched before is still to be delivered.
        if !entries.is_empty() {
            self.fetched = scope.fetch(&**tier, &*parts.store, span, entries).await;
        }
    }
}
