use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How often to retry if the part file is renamed or removed while it is opened.
const TRIES: usize = 5;

/// The mode of a new file, before the umask.
const NEW_MODE: u32 = 0o666;

/// The mode bit that lets the owner write.
const OWNER_WRITES: u32 = 0o200;

/// `FILE.part`, which is renamed to `FILE` once it is complete.
///
/// # Invariants
/// This process holds the lock of the file that had the name when it was locked, so no other process writes to it.
/// Dropping it releases the lock and leaves `FILE.part` behind.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The path is a symbolic link.
    #[error("{0} is a link; name the file itself")]
    Link(PathBuf),
    /// The path is a directory, a device or a pipe.
    #[error("{0} is not a regular file; use - for standard output")]
    NotAFile(PathBuf),
    /// The file exists, and the export must not replace it.
    #[error("{0} exists, and changes can't replace it: choose a new file")]
    Exists(PathBuf),
    /// Another process is writing the file.
    #[error("{part} is being written by {by}")]
    Taken {
        /// The part file.
        part: PathBuf,
        /// The process that holds the lock.
        by: String,
    },
    /// The part file was removed or replaced while it was open.
    #[error("{0} was removed or replaced while it was written")]
    Replaced(PathBuf),
    /// An operation on the file failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file was renamed, but its folder could not be synced: a crash may undo the rename.
    #[error("{path} is complete, but its folder can't be synced: {error}")]
    Folder {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl PartFile {
    /// Like [`open`](Self::open), but refuses to replace an existing file.
    ///
    /// # Errors
    /// [`TargetError`]; then nothing has changed.
    pub fn open_new(target: &Path) -> Result<Self, TargetError> {
        match regular(target)? {
            Some(_) => Err(TargetError::Exists(target.to_owned())),
            None => Self::open(target),
        }
    }

    /// Opens `FILE.part`, locks it and empties it.
    ///
    /// # Errors
    /// [`TargetError`]; then nothing has changed.
    pub fn open(target: &Path) -> Result<Self, TargetError> {
        let existing = regular(target)?;
        let mut name = OsString::from(target.as_os_str());
        name.push(".part");
        let part = PathBuf::from(name);
        let mode = existing.map(|metadata| metadata.mode() & 0o7777);
        for _ in 0..TRIES {
            // Until it is renamed, its owner must be able to write to it, even if `FILE` is read-only.
            let Some(file) = open(&part, mode.unwrap_or(NEW_MODE) | OWNER_WRITES)? else { continue };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(TargetError::Taken { by: holder(&file), part });
                }
                Err(TryLockError::Error(error)) => return Err(io_error(&part, error)),
            }
            // The previous holder of the lock may have renamed it: then it is a complete `FILE`.
            if !is_still(&part, &file)? {
                continue;
            }
            file.set_len(0).map_err(|error| io_error(&part, error))?;
            let file = Self { file, part, target: target.to_owned() };
            file.take_mode(mode.map(|mode| mode | OWNER_WRITES))?;
            return Ok(file);
        }
        Err(TargetError::Replaced(part))
    }

    /// A handle to write with.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The path of `FILE.part`.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// The path of `FILE`.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the file, and renames it to `FILE`.
    ///
    /// # Errors
    /// [`TargetError`]. Except with [`TargetError::Folder`], `FILE` has not changed.
    pub fn commit(self) -> Result<(), TargetError> {
        self.file.sync_all().map_err(|error| io_error(&self.part, error))?;
        if !is_still(&self.part, &self.file)? {
            return Err(TargetError::Replaced(self.part));
        }
        let existing = regular(&self.target)?;
        self.take_mode(existing.map(|metadata| metadata.mode() & 0o7777))?;
        fs::rename(&self.part, &self.target).map_err(|error| io_error(&self.target, error))?;
        let folder = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(|error| TargetError::Folder { path: self.target, error })
    }

    /// Removes the part file.
    ///
    /// # Errors
    /// The system's reason.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.part)
    }

    fn take_mode(&self, mode: Option<u32>) -> Result<(), TargetError> {
        let Some(mode) = mode else { return Ok(()) };
        let permissions = Permissions::from_mode(mode);
        self.file.set_permissions(permissions).map_err(|error| io_error(&self.part, error))
    }
}

/// Opens or creates a file to write to; `None` if it was removed in between.
fn open(path: &Path, mode: u32) -> Result<Option<File>, TargetError> {
    // `create_new` does not follow links.
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error(path, error)),
    }
    // Opening a pipe would block. If something else takes its place after this, `is_still` notices.
    if regular(path)?.is_none() {
        return Ok(None);
    }
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}

/// The metadata of a regular file; `None` if there is no file.
fn regular(path: &Path) -> Result<Option<Metadata>, TargetError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    if metadata.is_symlink() {
        return Err(TargetError::Link(path.to_owned()));
    }
    if !metadata.is_file() {
        return Err(TargetError::NotAFile(path.to_owned()));
    }
    Ok(Some(metadata))
}

/// Whether a path still names this open file.
fn is_still(path: &Path, file: &File) -> Result<bool, TargetError> {
    let open = file.metadata().map_err(|error| io_error(path, error))?;
    let named = regular(path)?;
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

fn io_error(path: &Path, error: io::Error) -> TargetError {
    TargetError::Io { path: path.to_owned(), error }
}

/// The process that holds the lock of a file, in words.
fn holder(file: &File) -> String {
    let process = || {
        let metadata = file.metadata().ok()?;
        locker(&fs::read_to_string("/proc/locks").ok()?, metadata.ino())
    };
    process().map_or_else(|| "another process".to_owned(), |process| format!("process {process}"))
}

/// The process that holds the lock of an inode, by the content of `/proc/locks`.
fn locker(locks: &str, inode: u64) -> Option<u32> {
    let ending = format!(":{inode}");
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // Number, kind, mode, access, process, and the file as `major:minor:inode`. Waiters have `->` after the number.
        let [_, "FLOCK", _, _, process, file, ..] = words[..] else { return None };
        file.ends_with(&ending).then(|| process.parse().ok()).flatten()
    })
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
