//! What must not be served any more: everything of an agent, or read with a credential, that was read before a mark.
//!
//! Marks are never dropped by age, since what they void may be found in any old folder. Beyond [`MOST`], the older half becomes
//! one mark about everything.

use std::collections::HashMap;
use std::io;

use super::format::{VoidMark, decode_marks, encode_marks};
use super::lay_over::only;
use super::record::{RecordKind, RecordName};
use super::secret::TierKeys;
use crate::domain::Timestamp;
use crate::tier::{Cell, TierScope, Voided};

/// The most marks.
const MOST: usize = 16_384;

/// What a mark about everything is called; no digest is.
const EVERYTHING: RecordName = RecordName::from_bytes([0; 16]);

/// The marks under one line of the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VoidMarks(HashMap<RecordName, Timestamp>);

/// What became of reading marks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadMarks {
    /// These are the marks.
    Known(VoidMarks),
    /// There are none.
    Absent,
    /// There are some, and what they say is lost.
    Lost,
}

impl VoidMarks {
    /// Marks that void everything read until now: what they said is lost.
    pub(crate) fn lost(now: Timestamp) -> Self {
        Self(HashMap::from([(EVERYTHING, now)]))
    }

    /// Opens a sealed record of marks.
    pub(crate) fn open(sealed: &mut [u8], keys: &TierKeys) -> ReadMarks {
        let plain = keys.sealer.open(RecordKind::Marks, &keys.names.marks(), sealed).ok();
        match plain.and_then(decode_marks) {
            Some(marks) => {
                ReadMarks::Known(Self(marks.into_iter().map(|mark| (mark.name, mark.at)).collect()))
            }
            None => ReadMarks::Lost,
        }
    }

    /// Seals the marks as one record.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn seal(&self, keys: &TierKeys) -> io::Result<Vec<u8>> {
        let marks: Vec<_> = self.0.iter().map(|(name, at)| VoidMark { name: *name, at: *at }).collect();
        keys.sealer.seal(RecordKind::Marks, &keys.names.marks(), &encode_marks(&marks))
    }

    /// Adds a mark. One that is later stays.
    pub(crate) fn add(&mut self, what: &Voided, at: Timestamp, keys: &TierKeys) {
        self.insert(keys.names.voided(what), at);
        if self.0.len() > MOST {
            self.merge_older_half();
        }
    }

    /// Adds everything that other marks say.
    pub(crate) fn add_all(&mut self, others: &Self) {
        others.0.iter().for_each(|(name, at)| self.insert(*name, *at));
        // Otherwise processes would give back to each other what each of them merged.
        if let Some(until) = self.0.get(&EVERYTHING).copied() {
            self.0.retain(|name, at| *name == EVERYTHING || *at > until);
        }
    }

    /// What was read then or before is void, if anything is.
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

/// A cell without what was read until then, which is void.
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
    fn a_mark_is_about_its_agent_or_credential() {
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
    fn marks_survive_and_a_damaged_record_is_not_taken_for_none() {
        let secret = secret(&[1]);
        let keys = secret.first();
        let mut marks = VoidMarks::default();
        marks.add(&agent(1), at(10), keys);
        let whole = marks.seal(keys).unwrap();
        assert_eq!(VoidMarks::open(&mut whole.clone(), keys), ReadMarks::Known(marks));
        for mut damaged in [vec![], vec![0; whole.len()], whole[..whole.len() / 2].to_vec()] {
            assert_eq!(VoidMarks::open(&mut damaged, keys), ReadMarks::Lost);
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(VoidMarks::open(&mut flipped, keys), ReadMarks::Lost, "bit {bit}");
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
