use std::fmt;
use std::sync::Arc;

/// An execution's status, in upstream's own word. The list of words grew several times, so it stays open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(Arc<str>);

/// The words after which a call is over. `call-disconnected` is not one of them: `completed` follows.
const TERMINAL: [&str; 8] =
    ["completed", "no-answer", "busy", "failed", "canceled", "stopped", "error", "balance-low"];

impl Status {
    /// Takes upstream's word as it is.
    pub fn new(word: &str) -> Self {
        Self(word.into())
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the call is over. What came after the call (cost, extraction, an automatic retry) may still
    /// change the row.
    pub fn is_terminal(&self) -> bool {
        TERMINAL.contains(&&*self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
