//! The lock that decides which process writes: the kernel's lock on an open file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The lock of a directory. The kernel releases it when this is dropped or the process ends.
///
/// The content of the file does not matter. It has no process id, because that is the same in every container.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// Takes the lock; `None` if another process has it. May block forever on a network file system.
    ///
    /// # Errors
    /// The file can't be opened or locked.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let open =
            |writes| OpenOptions::new().read(true).write(writes).create(writes).truncate(false).open(path);
        // A file of another user or on a read-only file system can be locked, too.
        let file = open(true).or_else(|error| open(false).map_err(|_| error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let lock = Self { file, path: path.to_owned() };
        Ok(lock.is_valid().then_some(lock))
    }

    /// Whether the path still names the locked file, so that no other process can take the lock.
    pub(super) fn is_valid(&self) -> bool {
        let places = (self.file.metadata(), std::fs::metadata(&self.path));
        matches!(places, (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::testing::TempFolder;

    #[test]
    fn the_lock_has_one_holder_whatever_the_file_contains() {
        let folder = TempFolder::new();
        let path = folder.path().join("lock");
        std::fs::write(&path, "1\nrubbish \0").unwrap();
        let lock = DirectoryLock::try_take(&path).unwrap().unwrap();
        assert!(DirectoryLock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(DirectoryLock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_replaced_file_ends_the_lock() {
        let folder = TempFolder::new();
        let path = folder.path().join("lock");
        let lock = DirectoryLock::try_take(&path).unwrap().unwrap();
        assert!(lock.is_valid());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_valid());
        assert!(DirectoryLock::try_take(&path).unwrap().is_some());
        assert!(!lock.is_valid());
    }
}
