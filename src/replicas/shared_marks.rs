//! The void marks that this process knows: those in the server, and those that could not be written yet.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::reply::{CallError, ServerReply};
use super::scripts::{LOOK, MARK, marks_key};
use super::server::Server;
use crate::domain::Timestamp;
use crate::sealed::{ReadMarks, RecordName, TierKeys, VoidMarks};
use crate::tier::{TierScope, Voided};

/// How often writing marks is tried, if another process writes first.
const TRIES: usize = 5;

/// The marks under each line of the secret.
#[derive(Debug, Default)]
pub(super) struct SharedMarks(Mutex<HashMap<RecordName, LineMarks>>);

/// The marks under one line of the secret.
#[derive(Clone, Debug, Default)]
struct LineMarks {
    marks: VoidMarks,
    /// Everything read until then is void, because marks were lost that this process may never have seen.
    lost: Option<Timestamp>,
    /// The version of the record that was read last.
    stamp: Option<RecordStamp>,
    /// Whether that record contains all of `marks`.
    is_written: bool,
}

/// Identifies a version of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordStamp {
    /// Changes when marks are lost.
    pub(super) epoch: Vec<u8>,
    /// Changes when marks are written.
    pub(super) number: Vec<u8>,
}

impl SharedMarks {
    /// Returns until when reads of a scope are void, by the marks under a line of the secret.
    pub(super) fn void_until(&self, keys: &TierKeys, scope: &TierScope) -> Option<Timestamp> {
        let all = self.0.lock();
        let known = all.get(&keys.names.namespace())?;
        known.marks.void_until(scope, keys).max(known.lost)
    }

    /// Adds a mark that is not written yet.
    pub(super) fn add(&self, what: &Voided, at: Timestamp, keys: &TierKeys) {
        let mut all = self.0.lock();
        let known = all.entry(keys.names.namespace()).or_default();
        known.marks.add(what, at, keys);
        known.is_written = false;
    }

    /// Whether this version of the record under a line of the secret is known.
    pub(super) fn knows(&self, keys: &TierKeys, stamp: &RecordStamp) -> bool {
        let all = self.0.lock();
        all.get(&keys.names.namespace()).is_some_and(|known| known.stamp.as_ref() == Some(stamp))
    }

    /// Reads the marks under a line of the secret if they changed, and writes those that the server lacks. When this returns, the
    /// server has all of them.
    ///
    /// # Errors
    /// The server is away or refuses, or other processes wrote first each time.
    pub(super) async fn sync(
        &self,
        server: &Server,
        keys: &TierKeys,
        now: Timestamp,
    ) -> Result<(), CallError> {
        let key = marks_key(keys);
        for _ in 0..TRIES {
            let known = self.known(keys);
            let (epoch, number) = known.stamp.map(|stamp| (stamp.epoch, stamp.number)).unwrap_or_default();
            let reply = server.script(&LOOK, &[&key], &[&epoch, &number]).await?;
            let mut reply = reply.list().into_iter().map(|part| part.bytes().unwrap_or_default());
            let found = match (reply.next(), reply.next()) {
                (Some(epoch), Some(number)) => Some(RecordStamp { epoch, number }),
                _ => None,
            };
            let expected = found.clone();
            let epoch = match (found, reply.next()) {
                (Some(found), Some(mut record)) => match VoidMarks::open(&mut record, keys) {
                    ReadMarks::Known(marks) => {
                        self.learn(keys, &marks, found, now);
                        continue;
                    }
                    ReadMarks::Absent | ReadMarks::Lost => {
                        self.lose(keys, now);
                        new_epoch()
                    }
                },
                (Some(_), None) if self.known(keys).is_written => return Ok(()),
                (Some(found), None) => found.epoch,
                (None, _) => {
                    if !epoch.is_empty() {
                        self.lose(keys, now);
                    }
                    new_epoch()
                }
            };
            if self.write(server, keys, expected, epoch).await? {
                return Ok(());
            }
        }
        Err(CallError::Unknown("other processes wrote void marks first each time".to_owned()))
    }

    /// Replaces the record by all marks known. Returns whether the server now has all of them: not if the record changed first, or
    /// if more marks were added meanwhile.
    async fn write(
        &self,
        server: &Server,
        keys: &TierKeys,
        expected: Option<RecordStamp>,
        epoch: Vec<u8>,
    ) -> Result<bool, CallError> {
        let marks = self.known(keys).marks;
        let sealed = marks.seal(keys).map_err(|error| CallError::Refused(error.to_string()))?;
        let (old, number) = expected.map(|stamp| (stamp.epoch, stamp.number)).unwrap_or_default();
        let written = server.script(&MARK, &[&marks_key(keys)], &[&old, &number, &epoch, &sealed]).await?;
        let ServerReply::Bytes(number) = written else { return Ok(false) };
        let mut all = self.0.lock();
        let known = all.entry(keys.names.namespace()).or_default();
        known.stamp = Some(RecordStamp { epoch, number });
        known.is_written = known.marks == marks;
        Ok(known.is_written)
    }

    fn known(&self, keys: &TierKeys) -> LineMarks {
        self.0.lock().entry(keys.names.namespace()).or_default().clone()
    }

    /// Adds the marks of a record. A new epoch means that marks were lost.
    fn learn(&self, keys: &TierKeys, marks: &VoidMarks, stamp: RecordStamp, now: Timestamp) {
        if self.known(keys).stamp.is_some_and(|known| known.epoch != stamp.epoch) {
            self.lose(keys, now);
        }
        let mut all = self.0.lock();
        let known = all.entry(keys.names.namespace()).or_default();
        known.marks.add_all(marks);
        known.is_written = known.marks == *marks;
        known.stamp = Some(stamp);
    }

    fn lose(&self, keys: &TierKeys, now: Timestamp) {
        tracing::warn!(target: "fanfold::tier", "The tier's void marks are lost: it was flushed, restarted empty or evicted them. Everything that was read until now is read again.");
        let mut all = self.0.lock();
        let known = all.entry(keys.names.namespace()).or_default();
        (known.lost, known.stamp, known.is_written) = (Some(now), None, false);
    }
}

fn new_epoch() -> Vec<u8> {
    format!("{:032x}", rand::random::<u128>()).into_bytes()
}
