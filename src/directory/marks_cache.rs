//! The void marks that this process knows: those in the files, and those that it has yet to write.

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
    /// The stamp of the file when it was last read, if there was one.
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
    /// Until when data of a scope is void, by the file in a folder and the marks added here. Reads the file if it changed.
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

    /// Adds a mark without writing it. Does not block on the disk.
    pub(super) fn add(&self, what: &Voided, at: Timestamp, keys: &TierKeys) {
        self.0.lock().entry(keys.names.namespace()).or_default().marks.add(what, at, keys);
    }

    /// Writes the marks of a folder, including those added. They are durable when this returns.
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
            // The marks are written before any scope, so nothing has been voided yet.
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
    fn reads_marks_that_another_process_writes() {
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
    fn a_mark_applies_even_if_it_could_not_be_written() {
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
    fn lost_marks_void_everything_kept_so_far() {
        let (folder, secret) = (TempFolder::new(), secret(&[1]));
        let keys = secret.first();
        std::fs::create_dir(folder.path().join("scope")).unwrap();
        let cache = MarksCache::default();
        assert_eq!(cache.void_until(folder.path(), keys, &scope(1), at(50)), Some(at(50)));
        assert_eq!(
            cache.void_until(folder.path(), keys, &scope(1), at(90)),
            Some(at(50)),
            "rows read later are not void"
        );
    }
}
