use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How often a part file that changes hands is tried again.
const TRIES: usize = 5;

/// The mode of a new file, of which the process's mask takes away.
const NEW_MODE: u32 = 0o666;

/// The mode of a file that its owner may write.
const OWNER_WRITES: u32 = 0o200;

/// `FILE.part`, which becomes `FILE` once everything is in it.
///
/// # Invariants
/// The file is locked, and was the one of its name when it was locked: another process that has it open writes nothing.
/// Dropping it leaves `FILE.part` behind, without the lock.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
}

/// Why a file can't be written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The name leads elsewhere.
    #[error("{0} is a link; name the file itself")]
    Link(PathBuf),
    /// It is a folder, a device or a pipe.
    #[error("{0} is not a regular file; use - for standard output")]
    NotAFile(PathBuf),
    /// There is a file of that name, and the export must not replace it.
    #[error("{0} exists, and changes can't replace it: choose a new file")]
    Exists(PathBuf),
    /// Another process writes it.
    #[error("{part} is being written by {by}")]
    Taken {
        /// The part file.
        part: PathBuf,
        /// Who has it.
        by: String,
    },
    /// It was removed or replaced while it was open.
    #[error("{0} was removed or replaced while it was written")]
    Replaced(PathBuf),
    /// The system refused something.
    #[error("{path}: {error}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
    /// The file has its name, but the folder may not be on the disk.
    #[error("{path} is complete, but its folder can't be synced: {error}")]
    Folder {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl PartFile {
    /// Opens the part file of a file that must not exist.
    ///
    /// # Errors
    /// [`TargetError`]; nothing has changed then.
    pub fn open_new(target: &Path) -> Result<Self, TargetError> {
        match regular(target)? {
            Some(_) => Err(TargetError::Exists(target.to_owned())),
            None => Self::open(target),
        }
    }

    /// Opens and locks `FILE.part`, and empties it.
    ///
    /// # Errors
    /// [`TargetError`]; nothing has changed then.
    pub fn open(target: &Path) -> Result<Self, TargetError> {
        let existing = regular(target)?;
        let mut name = OsString::from(target.as_os_str());
        name.push(".part");
        let part = PathBuf::from(name);
        let mode = existing.map(|metadata| metadata.mode() & 0o7777);
        for _ in 0..TRIES {
            // Its owner may write it until it is renamed, even if the file is read-only in the end.
            let Some(file) = open(&part, mode.unwrap_or(NEW_MODE) | OWNER_WRITES)? else { continue };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(TargetError::Taken { by: holder(&file), part });
                }
                Err(TryLockError::Error(error)) => return Err(io_error(&part, error)),
            }
            // The process that had the lock may have renamed the file: then it is a finished one.
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
    /// The system has none left.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Where it is until it is complete.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Where it will be then.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts it in the place of `FILE`, once its content is on the disk.
    ///
    /// # Errors
    /// [`TargetError`]. Unless it is [`TargetError::Folder`], `FILE` is as it was.
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

    /// Removes it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.part)
    }

    fn take_mode(&self, mode: Option<u32>) -> Result<(), TargetError> {
        let Some(mode) = mode else { return Ok(()) };
        let permissions = Permissions::from_mode(mode);
        self.file.set_permissions(permissions).map_err(|error| io_error(&self.part, error))
    }
}

/// Opens a file to be written, and makes it if there is none; none if it went away meanwhile.
fn open(path: &Path, mode: u32) -> Result<Option<File>, TargetError> {
    // Creating a new file follows no link.
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error(path, error)),
    }
    // Opening a pipe would block. If one takes its place after this, [`is_still`] finds out.
    if regular(path)?.is_none() {
        return Ok(None);
    }
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}

/// The facts of a regular file; none if there is nothing of that name.
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

/// Whether a path still leads to an open file.
fn is_still(path: &Path, file: &File) -> Result<bool, TargetError> {
    let open = file.metadata().map_err(|error| io_error(path, error))?;
    let named = regular(path)?;
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

fn io_error(path: &Path, error: io::Error) -> TargetError {
    TargetError::Io { path: path.to_owned(), error }
}

/// The process that has a file locked, if the system names it.
fn holder(file: &File) -> String {
    let process = || {
        let metadata = file.metadata().ok()?;
        locker(&fs::read_to_string("/proc/locks").ok()?, metadata.ino())
    };
    process().map_or_else(|| "another process".to_owned(), |process| format!("process {process}"))
}

/// The process in a list of `/proc/locks` that has a file.
fn locker(locks: &str, inode: u64) -> Option<u32> {
    let ending = format!(":{inode}");
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // A number, the kind, its mode, read or write, the process, and the file as major:minor:inode.
        let [_, "FLOCK", _, _, process, file, ..] = words[..] else { return None };
        file.ends_with(&ending).then(|| process.parse().ok()).flatten()
    })
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
