//! Void marks: what was read of an agent, or with a credential, before a mark must not be served.
//!
//! Marks never expire, because an old folder may still hold what they void. Beyond [`MOST`], the older half is merged into one
//! mark that covers everything.

use std::collections::HashMap;
use std::io;

use super::format::{decode_marks, encode_marks};
use super::lay_over::only;
use super::record::{RecordKind, RecordName};
use super::secret::TierKeys;
use crate::domain::Timestamp;
use crate::tier::{Cell, TierScope, Voided};

/// The most marks.
const MOST: usize = 16_384;

/// The name of a mark that covers everything. No digest is all zeros.
const EVERYTHING: RecordName = RecordName::from_bytes([0; 16]);

/// The marks under one line of the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VoidMarks(HashMap<RecordName, Timestamp>);

/// The outcome of reading marks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadMarks {
    /// These are the marks.
    Known(VoidMarks),
    /// There are none.
    Absent,
    /// There are marks, but they can't be read.
    Lost,
}

impl VoidMarks {
    /// Marks in place of unreadable ones: they void everything read until now.
    pub(crate) fn lost(now: Timestamp) -> Self {
        Self(HashMap::from([(EVERYTHING, now)]))
    }

    /// Opens a sealed record of marks.
    pub(crate) fn open(sealed: &mut [u8], keys: &TierKeys) -> ReadMarks {
        let plain = keys.sealer.open(RecordKind::Marks, &keys.names.marks(), sealed).ok();
        plain.and_then(decode_marks).map_or(ReadMarks::Lost, |marks| ReadMarks::Known(Self(marks)))
    }

    /// Seals the marks as one record.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn seal(&self, keys: &TierKeys) -> io::Result<Vec<u8>> {
        keys.sealer.seal(RecordKind::Marks, &keys.names.marks(), &encode_marks(&self.0))
    }

    /// Adds a mark, unless there is a later one with the same name.
    pub(crate) fn add(&mut self, what: &Voided, at: Timestamp, keys: &TierKeys) {
        self.insert(keys.names.voided(what), at);
        if self.0.len() > MOST {
            self.merge_older_half();
        }
    }

    /// Adds all marks of another set.
    pub(crate) fn add_all(&mut self, others: &Self) {
        others.0.iter().for_each(|(name, at)| self.insert(*name, *at));
        // Otherwise processes would return to each other the marks that each has merged.
        if let Some(until) = self.0.get(&EVERYTHING).copied() {
            self.0.retain(|name, at| *name == EVERYTHING || *at > until);
        }
    }

    /// Returns until when reads of a scope are void; `None` if no mark covers it.
    pub(crate) fn void_until(&self, scope: &TierScope, keys: &TierKeys) -> Option<Timestamp> {
        let agent = keys.names.voided(&Voided::Agent(scope.agent));
        let credential = keys.names.voided(&Voided::Credential(scope.credential));
        [EVERYTHING, agent, credential].iter().filter_map(|name| self.0.get(name)).max().copied()
    }

    fn insert(&mut self, name: RecordName, at: Timestamp) {
        let mark = self.0.entry(name).or_insert(at);
        *mark = at.max(*mark);
    }

    fn merge_older_half(&mut self) {
        let mut times: Vec<_> = self.0.values().copied().collect();
        times.sort_unstable();
        let until = times[times.len() / 2];
        self.0.retain(|_, at| *at > until);
        self.insert(EVERYTHING, until);
    }
}

/// Returns a cell without the segments that were read until `void_until`.
pub(crate) fn not_void(cell: &Cell, void_until: Option<Timestamp>) -> Cell {
    only(cell, |segment| void_until.is_none_or(|until| segment.read_at > until))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, scope, secret};
    use super::*;

    fn agent(number: u8) -> Voided {
        Voided::Agent(scope(number).agent)
    }

    #[test]
    fn a_mark_covers_its_agent_or_credential_only() {
        let secret = secret(&[1]);
        let keys = secret.first();
        let mut marks = VoidMarks::default();
        marks.add(&agent(1), at(10), keys);
        marks.add(&agent(1), at(5), keys);
        assert_eq!(marks.void_until(&scope(1), keys), Some(at(10)));
        assert_eq!(marks.void_until(&scope(2), keys), None);
        marks.add(&Voided::Credential(scope(2).credential), at(20), keys);
        assert_eq!(marks.void_until(&scope(1), keys), Some(at(20)));
    }

    #[test]
    fn a_damaged_record_of_marks_is_reported_as_lost() {
        let secret = secret(&[1]);
        let keys = secret.first();
        let mut marks = VoidMarks::default();
        marks.add(&agent(1), at(10), keys);
        let whole = marks.seal(keys).unwrap();
        assert_eq!(VoidMarks::open(&mut whole.clone(), keys), ReadMarks::Known(marks));
        for mut damaged in [vec![], vec![0; whole.len()], whole[..whole.len() / 2].to_vec()] {
            assert_eq!(VoidMarks::open(&mut damaged, keys), ReadMarks::Lost);
        }
    }

    #[test]
    fn too_many_marks_void_more_and_never_less() {
        let secret = secret(&[1]);
        let keys = secret.first();
        let mut marks = VoidMarks::default();
        for number in 0..=MOST {
            let id = uuid::Uuid::from_u128(number as u128);
            marks.add(&Voided::Agent(crate::domain::AgentId::new(id)), at(number as i64), keys);
        }
        assert!(marks.0.len() <= MOST);
        assert_eq!(marks.void_until(&scope(1), keys), Some(at(MOST as i64 / 2)));
    }
}
