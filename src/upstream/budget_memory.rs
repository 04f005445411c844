use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::gate::{Gate, Pass};
use crate::clock::SteadyClock;
use crate::domain::{CredentialId, Timestamp};
use crate::tier::{RequestTimes, SentRequest};

/// Tells when requests are sent, and counts in the budget what others sent: the process before this one, and one beside it.
pub(super) struct BudgetMemory {
    /// None if nothing outlives this process.
    pub(super) times: Option<Arc<dyn RequestTimes>>,
    pub(super) clock: SteadyClock,
}

impl BudgetMemory {
    /// Counts what others sent since this was last called.
    pub(super) fn count_others(&self, gate: &Gate) {
        let sent = self.times.as_ref().map(|times| times.sent_by_others()).unwrap_or_default();
        if !sent.is_empty() {
            let (now, instant) = (self.clock.now(), Instant::now());
            let at = |sent: Timestamp| instant.checked_sub(now.since(sent)).unwrap_or(instant);
            gate.remember(sent.iter().map(|sent| (sent.credential, at(sent.at))));
        }
    }

    /// Notes that a request is sent now.
    pub(super) async fn note(&self, mut pass: Pass, credential: CredentialId) -> Pass {
        if let Some(times) = &self.times {
            times.note(SentRequest { credential, at: self.clock.now() }).await;
            pass.delayed();
        }
        pass
    }
}

impl fmt::Debug for BudgetMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetMemory").field("is_kept", &self.times.is_some()).finish_non_exhaustive()
    }
}
