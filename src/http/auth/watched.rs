use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often a file is looked at, at most: a revoked token lives on for this long.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What a file says, read again when the file changes.
///
/// It is looked at when somebody asks and the last look is [`CHECK_EVERY`] ago; nothing runs meanwhile. A file that went away or
/// can't be read any more changes nothing but the log: a slip of an editor must not lock everybody out.
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

/// What tells two versions of a file apart; a swapped symbolic link shows in the inode.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

impl<T> Watched<T> {
    /// Reads a file for the first time; at start, so it may block.
    pub(super) fn open(path: &Path, parse: fn(&str) -> Result<T, Vec<String>>) -> Result<Self, Vec<String>> {
        let read =
            || -> io::Result<_> { Ok((stamp(&std::fs::metadata(path)?), std::fs::read_to_string(path)?)) };
        let name = |fault: String| format!("{}: {fault}", path.display());
        let (stamp, text) = read().map_err(|error| vec![name(error.to_string())])?;
        let current = parse(&text).map_err(|faults| faults.into_iter().map(name).collect::<Vec<_>>())?;
        let state = WatchedFile { current: Arc::new(current), stamp, next_look: Instant::now() };
        Ok(Self { path: path.to_owned(), parse, state: Mutex::new(state) })
    }

    /// What the file says now, or said last.
    pub(super) async fn current(&self) -> Arc<T> {
        let known = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if now < state.next_look {
                return Arc::clone(&state.current);
            }
            // Whoever sees that a look is due takes it; the others go on with what is known.
            state.next_look = now + CHECK_EVERY;
            state.stamp
        };
        match self.look(known).await {
            Ok(None) => {}
            Ok(Some((stamp, Ok(new)))) => {
                tracing::info!(target: "fanfold::auth", path = %self.path.display(), "Reloaded {}.", self.path.display());
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.stamp = stamp;
                state.current = Arc::new(new);
            }
            Ok(Some((stamp, Err(faults)))) => {
                let faults = faults.join("; ");
                tracing::error!(target: "fanfold::auth", path = %self.path.display(), faults, "{} has changed and can't be used: {faults}. Its last good content stays in force.", self.path.display());
                self.state.lock().unwrap_or_else(PoisonError::into_inner).stamp = stamp;
            }
            Err(error) => {
                tracing::error!(target: "fanfold::auth", path = %self.path.display(), %error, "{} can't be read: {error}. Its last good content stays in force.", self.path.display());
            }
        }
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// Nothing if the file is as it was; else its new stamp, and what it says or what is wrong with it.
    async fn look(&self, known: Stamp) -> io::Result<Option<(Stamp, Result<T, Vec<String>>)>> {
        // The stamp first: a change in between is then seen at the next look.
        let stamp = stamp(&tokio::fs::metadata(&self.path).await?);
        if stamp == known {
            return Ok(None);
        }
        let text = tokio::fs::read_to_string(&self.path).await?;
        Ok(Some((stamp, (self.parse)(&text))))
    }
}

/// Shows where, not what: the content is secret.
impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.path).finish()
    }
}
