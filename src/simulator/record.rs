use std::sync::Arc;

use bytes::Bytes;

use super::facts::{Facts, PROVIDERS};
use super::life::{Life, Standing};
use super::status::CallStatus;
use crate::domain::{BatchId, CallType, Filters, Status};

/// The stored part of a row, 32 bytes. Everything else is drawn from the serial on request.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) created_at: i64,
    pub(super) serial: u32,
    /// The seconds from `created_at` to the last change, rounded up.
    settles_after: u32,
    pub(super) facts: Facts,
    /// Changes by hand.
    pub(super) edit: Option<Box<Edit>>,
}

/// Changes of a row by hand; a value that is `None` is as drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Edit {
    pub(super) id: Option<Arc<str>>,
    pub(super) status: Option<Status>,
    pub(super) updated_at: Option<i64>,
    pub(super) call_type: Option<CallType>,
    /// The number that is called, in E.164 form.
    pub(super) recipient: Option<Box<str>>,
    pub(super) bytes: Option<Bytes>,
}

impl Record {
    pub(super) fn drawn(agent_seed: u64, serial: u32, created_at: i64) -> Self {
        let facts = Facts::of(agent_seed, serial);
        let settles = Life::of(agent_seed, serial, created_at, facts).settles_at() - created_at;
        let settles_after = u32::try_from(settles / 1_000_000 + 1).unwrap_or(u32::MAX);
        Self { created_at, serial, settles_after, facts, edit: None }
    }

    /// The state of the call.
    pub(super) fn standing(&self, agent_seed: u64, now: i64) -> Standing {
        let life = Life::of(agent_seed, self.serial, self.created_at, self.facts);
        match &self.edit {
            None => life.at(now),
            Some(edit) => {
                let pinned = edit.status.as_ref().map(|s| CallStatus::named(s.as_str()));
                let standing = life.at(if pinned.is_some() { i64::MAX } else { now });
                Standing {
                    status: pinned.map_or(standing.status, |status| status.unwrap_or(CallStatus::Queued)),
                    changed_at: edit.updated_at.unwrap_or(standing.changed_at),
                    ..standing
                }
            }
        }
    }

    /// The word for the state of the call.
    pub(super) fn status_word(&self, standing: &Standing) -> &str {
        match self.edit.as_ref().and_then(|edit| edit.status.as_ref()) {
            Some(status) => status.as_str(),
            None => standing.status.as_str(),
        }
    }

    /// The batch that the call belongs to, without dashes.
    pub(super) fn batch_id(&self, agent_seed: u64) -> Option<String> {
        self.facts.batch.map(|batch| batch.id(agent_seed))
    }

    /// Whether the row passes some filters.
    pub(super) fn matches(&self, wanted: &Wanted<'_>, agent_seed: u64, now: i64) -> bool {
        let Wanted { filters, status, batch } = wanted;
        let edit = self.edit.as_deref();
        let call_type = edit.and_then(|e| e.call_type).unwrap_or(self.facts.call_type);
        if filters.call_type.is_some_and(|wanted| wanted != call_type) {
            return false;
        }
        if let Some(wanted) = &filters.provider {
            let provider = PROVIDERS[usize::from(self.facts.provider) % PROVIDERS.len()];
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
        let is_settled = now >= self.created_at.saturating_add(i64::from(self.settles_after) * 1_000_000);
        if let (None, true) = (edit, is_settled) {
            // The result for most rows of a long history, without drawing their lives.
            return (filters.status.is_none() || *status == Some(self.facts.outcome))
                && filters.answered_by_voice_mail.is_none_or(|wanted| wanted == self.facts.voice_mail);
        }
        let standing = self.standing(agent_seed, now);
        let voice_mail = standing.status.is_over().then_some(self.facts.voice_mail);
        filters.status.as_ref().is_none_or(|wanted| wanted.as_str() == self.status_word(&standing))
            && filters.answered_by_voice_mail.is_none_or(|wanted| voice_mail == Some(wanted))
    }
}

/// Filters, with values that would otherwise be computed for every row.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    filters: &'a Filters,
    /// The status that is asked for, if it is a known one.
    status: Option<CallStatus>,
    /// The batch that is asked for, without dashes.
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

/// A batch's identifier without dashes, as rows have it; the documentation has it with dashes.
fn plain(id: &BatchId) -> String {
    id.as_str().chars().filter(|c| *c != '-').collect()
}
