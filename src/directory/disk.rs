//! Files that have either their old or their new content after a crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The extension of a file until it is complete.
pub(super) const UNFINISHED: &str = "tmp";

/// The largest file to read, in bytes; files that are written are far smaller.
const MOST: u64 = 1 << 30;

/// The allocation unit of common file systems, in bytes.
const BLOCK: u64 = 4 << 10;

/// The bytes that a file of this length takes on the disk.
pub(super) const fn on_disk(length: u64) -> u64 {
    length.div_ceil(BLOCK) * BLOCK
}

/// The bytes that a file takes on the disk; zero if it does not exist.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| on_disk(metadata.len()))
}

/// Writes and syncs a file under another name, and renames it to `path`. [`sync_folder`] makes the name durable.
///
/// # Errors
/// The disk is full or fails. Then the old file is unchanged.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        let _may_not_exist = fs::remove_file(&unfinished);
    })
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The disk fails.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder for this user only, unless it exists.
///
/// # Errors
/// Its parent does not exist or can't be written to.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a file; `None` if it does not exist.
///
/// # Errors
/// It can't be read, or is larger than [`MOST`].
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > MOST {
        return Err(io::Error::other("the file is too large"));
    }
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(MOST).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Removes a file if it exists.
///
/// # Errors
/// It can't be removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The paths in a folder; none if it can't be listed.
pub(super) fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |found| found.flatten().map(|f| f.path()).collect())
}

/// Whether a path has this extension.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::testing::TempFolder;

    #[test]
    fn replaces_reads_and_removes_a_file() {
        let folder = TempFolder::new();
        let path = folder.path().join("a.cell");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(list(folder.path()), std::slice::from_ref(&path));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_failed_write_leaves_only_the_old_file() {
        let folder = TempFolder::new();
        let path = folder.path().join("a.cell");
        replace(&path, b"one").unwrap();
        // A folder in the way of the unfinished file, and one in the way of the name.
        fs::create_dir(path.with_extension(UNFINISHED)).unwrap();
        assert!(replace(&path, b"two").is_err());
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        let taken = folder.path().join("b.cell");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"two").is_err());
        assert!(!taken.with_extension(UNFINISHED).exists());
    }

    #[test]
    fn sizes_are_rounded_up_to_blocks() {
        assert_eq!((on_disk(0), on_disk(1), on_disk(4096), on_disk(4097)), (0, 4096, 4096, 8192));
    }
}
