//! The file with the void marks of a line of the secret.

use std::io;
use std::path::{Path, PathBuf};

use super::disk;
use crate::sealed::{ReadMarks, TierKeys, VoidMarks};

/// The name of the file in the folder for a line of the secret.
pub(super) const FILE: &str = "voids";

/// Reads the marks in a folder.
pub(super) fn read(folder: &Path, keys: &TierKeys) -> ReadMarks {
    match disk::read(&file(folder)) {
        Ok(Some(mut sealed)) => VoidMarks::open(&mut sealed, keys),
        Ok(None) => ReadMarks::Absent,
        Err(_) => ReadMarks::Lost,
    }
}

/// Writes the marks in a folder. They are durable when this returns.
///
/// # Errors
/// The disk is full or fails.
pub(super) fn write(marks: &VoidMarks, folder: &Path, keys: &TierKeys) -> io::Result<()> {
    disk::replace(&file(folder), &marks.seal(keys)?)?;
    disk::sync_folder(folder)
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::sealed::testing::{TempFolder, secret};

    #[test]
    fn distinguishes_an_absent_file_from_a_damaged_one() {
        let (folder, secret) = (TempFolder::new(), secret(&[1]));
        let keys = secret.first();
        assert_eq!(read(folder.path(), keys), ReadMarks::Absent);
        let marks = VoidMarks::lost(Timestamp::from_micros(5));
        write(&marks, folder.path(), keys).unwrap();
        assert_eq!(read(folder.path(), keys), ReadMarks::Known(marks));
        std::fs::write(file(folder.path()), []).unwrap();
        assert_eq!(read(folder.path(), keys), ReadMarks::Lost);
    }
}
