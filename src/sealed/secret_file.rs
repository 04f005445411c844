//! The file with the secret, which is read again when it changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::secret::TierSecret;

/// A file with a secret. While its content is unusable, the last good content stays in force.
#[derive(Debug)]
pub(crate) struct SecretFile {
    path: PathBuf,
    stamp: Option<SecretStamp>,
}

/// The file with the secret, read and found good.
#[derive(Debug)]
pub struct SecretSource {
    pub(crate) file: SecretFile,
    pub(crate) secret: TierSecret,
}

impl SecretSource {
    /// Reads the file. Blocks, so call it only at the start.
    ///
    /// # Errors
    /// A sentence that names the file, and never its content.
    pub fn read(path: &Path) -> Result<Self, String> {
        // The stamp first, so that `changed` notices a change between stamp and read.
        let file = SecretFile { path: path.to_owned(), stamp: stamp(path) };
        Ok(Self { file, secret: read(path)? })
    }

    /// The secret as it was read.
    pub const fn secret(&self) -> &TierSecret {
        &self.secret
    }
}

/// Identifies a version of the file. A swapped symbolic link changes the inode.
type SecretStamp = (u64, u64, u64, i64, i64);

impl SecretFile {
    /// Returns the new secret, if the file has changed since the last call and can be used.
    pub(crate) fn changed(&mut self) -> Option<TierSecret> {
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return None;
        }
        self.stamp = stamp;
        match read(&self.path) {
            Ok(secret) => {
                tracing::info!(target: "fanfold::tier", path = %self.path.display(), "Reloaded {}.", self.path.display());
                Some(secret)
            }
            Err(fault) => {
                tracing::error!(target: "fanfold::tier", fault, "{fault}. Its last good content stays in force.");
                None
            }
        }
    }
}

fn stamp(path: &Path) -> Option<SecretStamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

fn read(path: &Path) -> Result<TierSecret, String> {
    let describe = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let text = fs::read(path).map_err(|error| describe(&error))?;
    TierSecret::parse(&text).map_err(|fault| describe(&fault))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempFolder;
    use super::*;

    #[test]
    fn a_faulty_file_keeps_the_last_good_secret() {
        let folder = TempFolder::new();
        let path = folder.path().join("secret");
        assert!(SecretSource::read(&path).unwrap_err().contains("secret"));
        fs::write(&path, "1".repeat(40)).unwrap();
        let SecretSource { mut file, secret: first } = SecretSource::read(&path).unwrap();
        assert!(file.changed().is_none());
        fs::write(&path, "x").unwrap();
        assert!(file.changed().is_none());
        fs::write(&path, format!("{}\n{}", "2".repeat(40), "1".repeat(40))).unwrap();
        let second = file.changed().unwrap();
        assert_eq!(second.all()[1].names.namespace(), first.first().names.namespace());
    }
}
