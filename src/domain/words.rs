//! Upstream's words that most rows share, stored once in the process.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// The words that upstream documents, and those that were seen in rows: statuses, directions, providers.
///
/// Other words are kept with the rows that have them, because upstream may send any number of them.
static SHARED: LazyLock<HashSet<Arc<str>>> = LazyLock::new(|| {
    let statuses = [
        "scheduled",
        "prepared",
        "queued",
        "rescheduled",
        "ringing",
        "initiated",
        "in-progress",
        "call-disconnected",
        "completed",
        "balance-low",
        "busy",
        "no-answer",
        "canceled",
        "failed",
        "stopped",
        "error",
    ];
    let others =
        ["inbound", "outbound", "twilio", "plivo", "websocket", "web-call", "exotel", "vobiz", "sip-trunk"];
    statuses.into_iter().chain(others).map(Arc::from).collect()
});

/// The word, shared if it is a common one.
pub(super) fn word(text: &str) -> Arc<str> {
    SHARED.get(text).map_or_else(|| text.into(), Arc::clone)
}

/// Keeps each word of a page once.
#[derive(Debug, Default)]
pub struct WordTable(Vec<Arc<str>>);

impl WordTable {
    /// How many of the latest words are searched. A page has few batches; if every row has its own word, sharing saves nothing.
    const SEARCHED: usize = 16;

    /// The word, shared with earlier rows.
    pub fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = SHARED.get(text) {
            return Arc::clone(shared);
        }
        let from = self.0.len().saturating_sub(Self::SEARCHED);
        if let Some(known) = self.0[from..].iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.push(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_a_page_is_kept_once() {
        let mut words = WordTable::default();
        let (first, again) = (words.word("batch-1"), words.word("batch-1"));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &words.word("batch-2")));
        assert!(Arc::ptr_eq(&words.word("completed"), &WordTable::default().word("completed")));
        assert!(Arc::ptr_eq(&word("twilio"), &words.word("twilio")));
    }
}
