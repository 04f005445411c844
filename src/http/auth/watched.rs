use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest time between two checks of a file. A revoked token stays valid for at most this long.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The parsed content of a file, re-read when the file changes.
///
/// The file is checked on access, if the last check is [`CHECK_EVERY`] ago; nothing runs in between. If the
/// file is deleted or can't be read, only the log says so and the last good content stays in force, so that
/// an editing mistake does not lock everyone out.
pub(super) struct Watched<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T, Vec<String>>,
    state: Mutex<WatchedFile<T>>,
}

struct WatchedFile<T> {
    current: Arc<T>,
    stamp: Stamp,
    next_look: Instant,
}

/// Identifies a version of a file. A swapped symbolic link changes the inode.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

impl<T> Watched<T> {
    /// Reads a file for the first time. Blocks, so call it only at startup.
    pub(super) fn open(path: &Path, parse: fn(&str) -> Result<T, Vec<String>>) -> Result<Self, Vec<String>> {
        let read =
            || -> io::Result<_> { Ok((stamp(&std::fs::metadata(path)?), std::fs::read_to_string(path)?)) };
        let name = |fault: String| format!("{}: {fault}", path.display());
        let (stamp, text) = read().map_err(|error| vec![name(error.to_string())])?;
        let current = parse(&text).map_err(|faults| faults.into_iter().map(name).collect::<Vec<_>>())?;
        let state = WatchedFile { current: Arc::new(current), stamp, next_look: Instant::now() };
        Ok(Self { path: path.to_owned(), parse, state: Mutex::new(state) })
    }

    /// The current content of the file, or its last good content.
    pub(super) async fn current(&self) -> Arc<T> {
        let known = {
            let mut state = self.state.lock();
            let now = Instant::now();
            if now < state.next_look {
                return Arc::clone(&state.current);
            }
            // The first access that finds a check due performs it; others use the current content.
            state.next_look = now + CHECK_EVERY;
            state.stamp
        };
        match self.look(known).await {
            Ok(None) => {}
            Ok(Some((stamp, Ok(new)))) => {
                tracing::info!(target: "fanfold::auth", path = %self.path.display(), "Reloaded {}.", self.path.display());
                let mut state = self.state.lock();
                state.stamp = stamp;
                state.current = Arc::new(new);
            }
            Ok(Some((stamp, Err(faults)))) => {
                let faults = faults.join("; ");
                tracing::error!(target: "fanfold::auth", path = %self.path.display(), faults, "{} has changed and can't be used: {faults}. Its last good content stays in force.", self.path.display());
                self.state.lock().stamp = stamp;
            }
            Err(error) => {
                tracing::error!(target: "fanfold::auth", path = %self.path.display(), %error, "{} can't be read: {error}. Its last good content stays in force.", self.path.display());
            }
        }
        Arc::clone(&self.state.lock().current)
    }

    /// Returns `None` if the file has not changed, otherwise its new stamp and its content or faults.
    async fn look(&self, known: Stamp) -> io::Result<Option<(Stamp, Result<T, Vec<String>>)>> {
        // Take the stamp first: the next check then notices a change made in between.
        let stamp = stamp(&tokio::fs::metadata(&self.path).await?);
        if stamp == known {
            return Ok(None);
        }
        let text = tokio::fs::read_to_string(&self.path).await?;
        Ok(Some((stamp, (self.parse)(&text))))
    }
}

/// Shows the path only, because the content is secret.
impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.path).finish()
    }
}
