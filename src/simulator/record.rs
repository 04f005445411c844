use std::num::NonZeroU64;

use super::facts::{Facts, PROVIDERS};
use super::life::{Life, Standing};
use super::status::CallStatus;
use crate::domain::{BatchId, CallType, Filters};

/// The stored part of a row: 32 bytes. Everything else is drawn from the serial on request.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) created_at: i64,
    pub(super) serial: u32,
    /// The seconds from `created_at` to the last change, rounded up.
    settles_after: u32,
    pub(super) facts: Facts,
    /// The digits of the number that a client asked to call; `None` for a drawn one.
    pub(super) recipient: Option<NonZeroU64>,
}

impl Record {
    /// A row whose values are all drawn.
    pub(super) fn drawn(agent_seed: u64, serial: u32, created_at: i64) -> Self {
        Self::new(agent_seed, serial, created_at, Facts::of(agent_seed, serial), None)
    }

    /// The row of a call that a client placed.
    pub(super) fn placed(agent_seed: u64, serial: u32, created_at: i64, recipient: NonZeroU64) -> Self {
        let facts = Facts { call_type: CallType::Outbound, batch: None, ..Facts::of(agent_seed, serial) };
        Self::new(agent_seed, serial, created_at, facts, Some(recipient))
    }

    fn new(
        agent_seed: u64,
        serial: u32,
        created_at: i64,
        facts: Facts,
        recipient: Option<NonZeroU64>,
    ) -> Self {
        let settles = Life::of(agent_seed, serial, created_at, facts).settles_at() - created_at;
        let settles_after = u32::try_from(settles / 1_000_000 + 1).unwrap_or(u32::MAX);
        Self { created_at, serial, settles_after, facts, recipient }
    }

    /// The state of the call.
    pub(super) fn standing(&self, agent_seed: u64, now: i64) -> Standing {
        Life::of(agent_seed, self.serial, self.created_at, self.facts).at(now)
    }

    /// The batch that the call belongs to, without dashes.
    pub(super) fn batch_id(&self, agent_seed: u64) -> Option<String> {
        self.facts.batch.map(|batch| batch.id(agent_seed))
    }

    /// Whether the row passes some filters.
    pub(super) fn matches(&self, wanted: &Wanted<'_>, agent_seed: u64, now: i64) -> bool {
        let Wanted { filters, status, batch } = wanted;
        let facts = &self.facts;
        if filters.call_type.is_some_and(|wanted| wanted != facts.call_type) {
            return false;
        }
        if let Some(wanted) = &filters.provider {
            let provider = PROVIDERS[usize::from(facts.provider) % PROVIDERS.len()];
            if provider != wanted.as_str() {
                return false;
            }
        }
        if batch.is_some() && self.batch_id(agent_seed) != *batch {
            return false;
        }
        if !filters.can_change() {
            return true;
        }
        // Most rows of a long history are settled, so their lives need not be drawn.
        let is_settled = now >= self.created_at.saturating_add(i64::from(self.settles_after) * 1_000_000);
        let present = if is_settled { facts.outcome } else { self.standing(agent_seed, now).status };
        let voice_mail = present.is_over().then_some(facts.voice_mail);
        (filters.status.is_none() || *status == Some(present))
            && filters.answered_by_voice_mail.is_none_or(|wanted| voice_mail == Some(wanted))
    }
}

/// Filters, with values that would otherwise be computed for every row.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    filters: &'a Filters,
    /// The requested status, if the simulator has it.
    status: Option<CallStatus>,
    /// The requested batch, without dashes.
    batch: Option<String>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(filters: &'a Filters) -> Self {
        Self {
            filters,
            status: filters.status.as_ref().and_then(|status| CallStatus::named(status.as_str())),
            batch: filters.batch_id.as_ref().map(plain),
        }
    }
}

/// A batch's identifier as in rows, without the dashes that it has in upstream's documentation.
fn plain(id: &BatchId) -> String {
    id.as_str().chars().filter(|c| *c != '-').collect()
}
