use std::fmt;
use std::sync::Arc;

use super::policy::Forwarding;
use super::shared::SharedReads;
use crate::forward::Forward;
use crate::http::places::Places;

/// The maximum forwarded requests in progress; each has a connection and up to 128 KiB of buffers.
const MOST: usize = 256;

/// The state of forwarding.
pub struct Forwarded {
    pub(super) forwarding: Forwarding,
    pub(super) client: Arc<dyn Forward>,
    pub(super) places: Arc<Places>,
    pub(super) shared: Arc<SharedReads>,
}

impl Forwarded {
    /// Forwards what `forwarding` allows, through `client`. Caches at most `max_bytes` of shared responses.
    pub fn new(forwarding: Forwarding, client: Arc<dyn Forward>, max_bytes: u64) -> Self {
        Self {
            forwarding,
            client,
            places: Arc::new(Places::new(MOST)),
            shared: Arc::new(SharedReads::new(max_bytes)),
        }
    }

    /// What is forwarded.
    pub(in crate::http) const fn forwarding(&self) -> Forwarding {
        self.forwarding
    }

    /// Drops everything that is cached.
    pub fn forget(&self) {
        self.shared.drop_all();
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").field("forwarding", &self.forwarding).finish_non_exhaustive()
    }
}
