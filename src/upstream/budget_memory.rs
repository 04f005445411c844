use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::gate::{Gate, GateRefusal, Pass, PassRequest, SharedChange};
use super::retry::Cause;
use crate::clock::SteadyClock;
use crate::domain::{CredentialId, Timestamp};
use crate::tier::{BudgetChangeKind, RequestTimes, SentRequest};

/// How often a waiting request checks what other processes have sent.
const NEWS_EVERY: Duration = Duration::from_secs(1);

/// Reports when requests are sent, and counts the requests of other processes against the budget: those of
/// the previous process, and of processes that run at the same time.
pub(super) struct BudgetMemory {
    /// `None` if nothing outlives this process.
    pub(super) times: Option<Arc<dyn RequestTimes>>,
    pub(super) clock: SteadyClock,
}

impl BudgetMemory {
    /// Counts the requests that others sent since the last call, and applies what they learned.
    pub(super) fn count_others(&self, gate: &Gate) {
        let Some(times) = &self.times else { return };
        let (sent, changes) = (times.sent_by_others(), times.changes());
        if sent.is_empty() && changes.is_empty() {
            return;
        }
        let (now, instant) = (self.clock.now(), Instant::now());
        let at = |sent: Timestamp| instant.checked_sub(now.since(sent)).unwrap_or(instant);
        gate.remember(sent.iter().map(|sent| (sent.credential, at(sent.at))));
        for change in changes {
            let shared = match change.kind {
                BudgetChangeKind::Limit(most) => SharedChange::Limit(most),
                BudgetChangeKind::Pause(until) => SharedChange::Pause(instant + until.since(now)),
            };
            gate.change(change.credential, shared);
        }
    }

    /// Waits until a request has its turn in this process, and then until the other processes leave room for
    /// it. It must be sent as soon as this returns.
    ///
    /// # Errors
    /// See [`GateRefusal`].
    pub(super) async fn enter(&self, gate: &Gate, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
        self.count_others(gate);
        let mut pass = {
            let _waits = gate.is_short_of_budget(asker).then(|| asker.context.budget_clock.wait());
            self.enter_gate(gate, asker).await?
        };
        let Some(times) = &self.times else { return Ok(pass) };
        let _waits = asker.context.budget_clock.wait();
        tokio::select! {
            biased;
            () = times.note(SentRequest { credential: asker.credential, at: self.clock.now() }) => {
                pass.delayed();
                Ok(pass)
            }
            () = given_up(asker) => Err(pass.never_sent()),
        }
    }

    /// Waits until a request has its turn. News from other processes may make that earlier or later.
    async fn enter_gate(&self, gate: &Gate, asker: PassRequest<'_>) -> Result<Pass, GateRefusal> {
        let mut entering = std::pin::pin!(gate.enter(asker));
        loop {
            tokio::select! {
                biased;
                entered = &mut entering => return entered,
                () = sleep(NEWS_EVERY), if self.times.is_some() => self.count_others(gate),
            }
        }
    }

    /// Tells the other processes if a failure means that upstream's limit is reached for all that share the
    /// budget.
    pub(super) fn tell(&self, gate: &Gate, credential: CredentialId, cause: &Cause) {
        if let (Cause::Limited, Some(times)) = (cause, &self.times)
            && let Some(until) = gate.paused_until(credential)
        {
            times.limited(credential, self.clock.now().plus(until.saturating_duration_since(Instant::now())));
        }
    }
}

/// Returns when waiting any longer is pointless.
async fn given_up(asker: PassRequest<'_>) {
    loop {
        match asker.give_up() {
            Some(at) if at > Instant::now() => sleep_until(at).await,
            Some(_) => return,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for BudgetMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetMemory").field("is_kept", &self.times.is_some()).finish_non_exhaustive()
    }
}
