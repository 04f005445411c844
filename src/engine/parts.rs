use std::sync::Arc;

use tokio::sync::Notify;

use super::freshness::{Membership, Policy, TtlStretch};
use super::terms::{Clock, EngineSettings};
use crate::domain::{Caller, CredentialId};
use crate::shutdown::Shutdown;
use crate::source::Source;
use crate::store::Store;
use crate::tier::Tier;

/// The components of the engine: its collaborators, and how far times to live are stretched.
pub(super) struct Parts {
    pub(super) settings: EngineSettings,
    pub(super) source: Arc<dyn Source>,
    pub(super) store: Arc<dyn Store>,
    /// Where what is known outlives the process, if anywhere.
    pub(super) tier: Option<Arc<dyn Tier>>,
    /// Wakes the task that saves: somebody waits for what was read.
    pub(super) save_soon: Arc<Notify>,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    pub(super) stretch: TtlStretch,
}

impl Parts {
    /// The tier, if other processes save to it at the same time.
    pub(super) fn shared_tier(&self) -> Option<&dyn Tier> {
        self.tier.as_deref().filter(|tier| tier.is_shared())
    }

    /// Has what was read saved soon, if another process may read the same.
    pub(super) fn share_soon(&self) {
        if self.shared_tier().is_some() {
            self.save_soon.notify_one();
        }
    }

    /// The freshness policy for a caller's questions, as far as the budget allows it.
    pub(super) fn policy(&self, membership: Membership, credential: CredentialId, caller: Caller) -> Policy {
        let room = || self.source.room(credential, caller);
        let factor = self.stretch.factor(caller.id, self.clock.now(), room);
        self.plain_policy(membership).stretched(factor)
    }

    /// The freshness policy while the budget allows it.
    pub(super) fn plain_policy(&self, membership: Membership) -> Policy {
        Policy::of(&self.settings, membership).with_upstream_ahead(self.source.clock_ahead_micros())
    }
}
