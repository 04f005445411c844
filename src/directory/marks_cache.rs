//! The void marks as far as this process knows them: what the files say, and what it could not write yet.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use parking_lot::Mutex;

use super::disk;
use super::marks_file::{self, FILE};
use crate::domain::Timestamp;
use crate::sealed::{ReadMarks, RecordName, TierKeys, VoidMarks};
use crate::tier::{TierScope, Voided};

/// The marks under each line of the secret.
#[derive(Debug, Default)]
pub(super) struct MarksCache(Mutex<HashMap<RecordName, KnownMarks>>);

#[derive(Debug, Default)]
struct KnownMarks {
    marks: VoidMarks,
    /// Of the file when it was read; none if there was none, or it was not read yet.
    stamp: Option<MarksStamp>,
    is_read: bool,
}

/// Identifies a version of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MarksStamp {
    file: (u64, u64),
    changed: (i64, i64),
}

impl MarksCache {
    /// What is void of a scope by what the file in a folder says now, and by what was added here.
    pub(super) fn void_until(
        &self,
        folder: &Path,
        keys: &TierKeys,
        scope: &TierScope,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut all = self.0.lock();
        let known = all.entry(keys.names.namespace()).or_default();
        known.refresh(folder, keys, now);
        known.marks.void_until(scope, keys)
    }

    /// Adds a mark that is not written yet. Does not block.
    pub(super) fn add(&self, what: &Voided, at: Timestamp, keys: &TierKeys) {
        self.0.lock().entry(keys.names.namespace()).or_default().marks.add(what, at, keys);
    }

    /// Writes the marks of a folder, with those that were added. They are safe when this returns.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn write(&self, folder: &Path, keys: &TierKeys, now: Timestamp) -> io::Result<()> {
        let marks = {
            let mut all = self.0.lock();
            let known = all.entry(keys.names.namespace()).or_default();
            known.refresh(folder, keys, now);
            known.marks.clone()
        };
        marks_file::write(&marks, folder, keys)?;
        if let Some(known) = self.0.lock().get_mut(&keys.names.namespace()) {
            known.stamp = stamp(folder);
        }
        Ok(())
    }
}

impl KnownMarks {
    /// Reads the file if it has changed.
    fn refresh(&mut self, folder: &Path, keys: &TierKeys, now: Timestamp) {
        let stamp = stamp(folder);
        if self.is_read && self.stamp == stamp {
            return;
        }
        let read = match marks_file::read(folder, keys) {
            ReadMarks::Known(marks) => marks,
            // Nothing is written before the marks are, so there is nothing to be void.
            ReadMarks::Absent if disk::list(folder).iter().all(|path| !path.is_dir()) => VoidMarks::default(),
            ReadMarks::Absent | ReadMarks::Lost => {
                tracing::warn!(target: "fanfold::tier", path = %folder.display(), "The tier's void marks are lost. Everything that was kept until now is left out.");
                VoidMarks::lost(now)
            }
        };
        self.marks.add_all(&read);
        (self.stamp, self.is_read) = (stamp, true);
    }
}

fn stamp(folder: &Path) -> Option<MarksStamp> {
    let metadata = fs::metadata(folder.join(FILE)).ok()?;
    let file = (metadata.ino(), metadata.size());
    Some(MarksStamp { file, changed: (metadata.mtime(), metadata.mtime_nsec()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::testing::{TempFolder, at, scope, secret};

    #[test]
    fn what_another_process_writes_is_seen() {
        let (folder, secret) = (TempFolder::new(), secret(&[1]));
        let keys = secret.first();
        let (ours, theirs) = (MarksCache::default(), MarksCache::default());
        let void_until = |cache: &MarksCache| cache.void_until(folder.path(), keys, &scope(1), at(50));
        assert_eq!(void_until(&ours), None);
        for second in [10, 20] {
            theirs.add(&Voided::Agent(scope(1).agent), at(second), keys);
            theirs.write(folder.path(), keys, at(50)).unwrap();
            assert_eq!(void_until(&ours), Some(at(second)));
        }
    }

    #[test]
    fn a_mark_that_could_not_be_written_holds_here() {
        let (folder, secret) = (TempFolder::new(), secret(&[1]));
        let keys = secret.first();
        let cache = MarksCache::default();
        cache.add(&Voided::Agent(scope(1).agent), at(10), keys);
        assert!(cache.write(&folder.path().join("gone"), keys, at(50)).is_err());
        assert_eq!(cache.void_until(folder.path(), keys, &scope(1), at(50)), Some(at(10)));
        cache.write(folder.path(), keys, at(50)).unwrap();
        let fresh = MarksCache::default();
        assert_eq!(fresh.void_until(folder.path(), keys, &scope(1), at(50)), Some(at(10)));
    }

    #[test]
    fn marks_that_are_gone_void_everything_that_was_kept() {
        let (folder, secret) = (TempFolder::new(), secret(&[1]));
        let keys = secret.first();
        std::fs::create_dir(folder.path().join("scope")).unwrap();
        let cache = MarksCache::default();
        assert_eq!(cache.void_until(folder.path(), keys, &scope(1), at(50)), Some(at(50)));
        assert_eq!(
            cache.void_until(folder.path(), keys, &scope(1), at(90)),
            Some(at(50)),
            "not what came later"
        );
    }
}
