use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::export::{PartFile, TargetError};

/// The longest cursor.
const LONGEST: usize = 128;

/// The file that holds the cursor of the last run. It is locked while an export runs, and written last.
#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
    part: PartFile,
    since: Option<String>,
}

/// Why a cursor can't be read or saved.
#[derive(Debug, thiserror::Error)]
pub(super) enum CursorFileError {
    /// The file can't be written.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The file can't be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file does not hold a cursor.
    #[error("{0} holds no cursor; remove it to start over with everything")]
    Malformed(PathBuf),
}

impl CursorFile {
    /// Locks the file and reads its cursor. A file that doesn't exist has none.
    pub(super) fn open(path: &Path) -> Result<Self, CursorFileError> {
        let part = PartFile::open(path)?;
        let since = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), part, since: None });
            }
            Err(error) => {
                let _the_first_error_counts = part.remove();
                return Err(CursorFileError::Io { path: path.to_owned(), error });
            }
        };
        match cursor(&since) {
            Some(cursor) => Ok(Self { path: path.to_owned(), part, since: Some(cursor.to_owned()) }),
            None => {
                let _the_first_error_counts = part.remove();
                Err(CursorFileError::Malformed(path.to_owned()))
            }
        }
    }

    /// The cursor of the last run.
    pub(super) fn since(&self) -> Option<&str> {
        self.since.as_deref()
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Saves a cursor for the next run.
    pub(super) fn save(self, cursor: &str) -> Result<(), CursorFileError> {
        let written = self.part.handle().and_then(|mut file| writeln!(file, "{cursor}"));
        match written {
            Ok(()) => Ok(self.part.commit()?),
            Err(error) => {
                let _the_first_error_counts = self.part.remove();
                Err(CursorFileError::Io { path: self.path, error })
            }
        }
    }

    /// Unlocks the file and leaves it unchanged.
    pub(super) fn discard(self) {
        let _an_empty_file_stays = self.part.remove();
    }
}

/// The cursor in a text, which may end with a line break.
fn cursor(text: &str) -> Option<&str> {
    let cursor = text.trim_ascii();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=LONGEST).contains(&cursor.len()) && cursor.bytes().all(is_plain)).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_file_holds_one_plain_word() {
        assert_eq!(cursor("c1.aZ_9-\n"), Some("c1.aZ_9-"));
        assert_eq!(cursor("c1\r\n"), Some("c1"));
        for text in ["", "\n", "two words", "c1\nc2\n", "{\"cursor\":null}", &"x".repeat(129)] {
            assert_eq!(cursor(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_saved_cursor_replaces_the_last_one_and_a_file_without_a_cursor_stays_unchanged() {
        let path = std::env::temp_dir().join(format!("fanfold-cursor-{}", uuid::Uuid::new_v4()));
        let first = CursorFile::open(&path).unwrap();
        assert_eq!(first.since(), None);
        assert!(matches!(CursorFile::open(&path), Err(CursorFileError::Target(TargetError::Taken { .. }))));
        first.save("c1.first").unwrap();
        let second = CursorFile::open(&path).unwrap();
        assert_eq!(second.since(), Some("c1.first"));
        second.discard();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(CursorFile::open(&path), Err(CursorFileError::Malformed(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        std::fs::remove_file(&path).unwrap();
        let part = path.with_file_name(format!("{}.part", path.file_name().unwrap().display()));
        assert!(!part.exists());
    }
}
