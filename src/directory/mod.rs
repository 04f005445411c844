//! A tier in a directory of a local disk. Its files are [sealed](crate::sealed) records, except for `lock` and `requests`.
//!
//! ```text
//! <dir>/lock                           one process writes: the kernel's lock on this open file
//! <dir>/requests                       the times of upstream requests
//! <dir>/<namespace>/voids              void marks; a namespace for each line of the secret
//! <dir>/<namespace>/<scope>/<x>.cell   what is known of one week
//! <dir>/<namespace>/<scope>/<y>.rows   the bytes of one entry, which never change
//! ```
//!
//! One process writes. It reads the cell of a week before it replaces it, so there is no journal and nothing to merge. Files
//! are replaced by renaming, so processes without the lock can read at any time; one of them takes over when the lock is free.
//!
//! Three threads wait for the disk: one reads, one writes, and one writes the times of requests. Their queues are bounded.
//! Every wait for them has a limit of at most a few seconds, except in the task that saves.

mod check;
mod disk;
mod disk_room;
mod file_system;
mod file_thread;
mod kept_files;
mod lock;
mod marks_cache;
mod marks_file;
mod request_log;
mod sent_ring;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use self::file_thread::FileThread;
use self::kept_files::KeptFiles;
use self::request_log::RequestFile;
use self::state::SharedDirectory;
use crate::clock::SteadyClock;
use crate::domain::{Entry, EntryIndex, Timestamp};
use crate::sealed::SecretSource;
use crate::sealed::TierCounters;
use crate::store::EntryKey;
use crate::telemetry::{TierReadings, TierStateReading};
use crate::tier::{
    Cell, Finding, RequestTimes, Saved, ScopeChanges, Tier, TierKind, TierNews, TierScope, TierStatus,
    TierUnavailable, TierVersion, Voided,
};

/// How long the start waits for the first attempt to take the lock.
const START: Duration = Duration::from_millis(250);

/// The most queued jobs of each thread.
const QUEUE: usize = 256;

/// How long a purge waits for the disk.
const VOID_TIME: Duration = Duration::from_secs(5);

/// The settings of a directory.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// The path. It is created if it does not exist.
    pub path: PathBuf,
    /// The most bytes that the files may take on the disk.
    pub bytes: u64,
    /// The greatest age of what is served.
    pub max_age: Duration,
}

/// Checks whether a directory can be used. Blocks.
pub fn check(path: &Path, secret: &SecretSource, bytes: u64) -> Vec<Finding> {
    check::check(path, secret.secret(), bytes)
}

/// A tier in a directory.
#[derive(Debug)]
pub struct Directory {
    shared: Arc<SharedDirectory>,
    capacity: u64,
    reader: FileThread,
    writer: FileThread,
    requests: Arc<RequestFile>,
}

impl Directory {
    /// Opens a directory. Problems with the disk are no errors but show in the state, because a gateway starts without the
    /// tier, too. `clock` must be the engine's.
    ///
    /// # Errors
    /// The system can't create threads.
    pub fn open(
        settings: DirectorySettings,
        secret: SecretSource,
        clock: SteadyClock,
    ) -> io::Result<Arc<Self>> {
        let DirectorySettings { path, bytes, max_age } = settings;
        let counters = Arc::<TierCounters>::default();
        let files = Arc::new(KeptFiles::new(path, secret.secret, Arc::clone(&counters)));
        let shared = Arc::new(SharedDirectory::new(
            Arc::clone(&files),
            Arc::clone(&counters),
            secret.file,
            clock.clone(),
            (bytes, max_age),
        ));
        let (say, said) = std::sync::mpsc::sync_channel(1);
        let writer = {
            let shared = Arc::clone(&shared);
            FileThread::start("tier-write", QUEUE, move || {
                let next = shared.tick();
                let _only_the_first_is_waited_for = say.try_send(());
                next
            })?
        };
        // Taking a lock on a network file system may block forever.
        let _late = said.recv_timeout(START);
        let reader = FileThread::start("tier-read", QUEUE, || Duration::from_secs(3600))?;
        let requests = Arc::new(RequestFile::open(files, counters, clock)?);
        Ok(Arc::new(Self { shared, capacity: bytes, reader, writer, requests }))
    }

    /// The times of upstream requests, which are kept here.
    pub fn request_times(&self) -> Arc<dyn RequestTimes> {
        Arc::<RequestFile>::clone(&self.requests)
    }

    /// The state, the size and the counters.
    pub fn readings(&self) -> TierReadings {
        TierReadings {
            state: self.shared.state(),
            capacity: self.capacity,
            bytes: self.shared.bytes(),
            ..self.shared.counters.readings()
        }
    }

    async fn cells(&self, scope: TierScope) -> Vec<Cell> {
        let shared = Arc::clone(&self.shared);
        let Ok(cells) = self.reader.run_soon(move || shared.load(&scope)).await else {
            TierCounters::add(&self.shared.counters.late);
            return Vec::new();
        };
        if self.shared.files.writes() {
            let shared = Arc::clone(&self.shared);
            self.writer.enqueue(move || shared.tidy(&scope));
        }
        cells
    }

    async fn rows(
        &self,
        scope: TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> Vec<Option<Arc<Entry>>> {
        let (shared, count) = (Arc::clone(&self.shared), entries.len());
        match self.reader.run_soon(move || shared.load_rows(&scope, &entries)).await {
            Ok(rows) => rows,
            Err(_) => {
                TierCounters::add(&self.shared.counters.late);
                vec![None; count]
            }
        }
    }

    async fn write(&self, scope: TierScope, changes: Arc<ScopeChanges>) -> Saved {
        if !self.shared.files.writes() {
            TierCounters::add(&self.shared.counters.away);
            return Saved::No;
        }
        let shared = Arc::clone(&self.shared);
        self.writer.run(move || shared.save(&scope, &changes)).await.unwrap_or(Saved::No)
    }

    async fn mark(&self, what: Voided, at: Timestamp) -> Result<(), TierUnavailable> {
        self.shared.note_void(&what, at);
        if !self.shared.files.writes() {
            return Err(TierUnavailable);
        }
        let shared = Arc::clone(&self.shared);
        match timeout(VOID_TIME, self.writer.run(move || shared.write_marks())).await {
            Ok(Ok(Ok(()))) => Ok(()),
            _ => Err(TierUnavailable),
        }
    }
}

impl Tier for Directory {
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews> {
        async move { TierNews { version: since, cells: self.cells(*scope).await } }.boxed()
    }

    fn load_rows<'a>(
        &'a self,
        scope: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>> {
        self.rows(*scope, entries).boxed()
    }

    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved> {
        self.write(*scope, changes).boxed()
    }

    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>> {
        self.mark(what, at).boxed()
    }

    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>> {
        let shared = Arc::clone(&self.shared);
        async move { self.reader.run_soon(move || shared.voided(&scopes)).await.unwrap_or_default() }.boxed()
    }

    fn status(&self) -> TierStatus {
        TierStatus { kind: TierKind::Directory, is_ok: self.shared.state() == TierStateReading::Used }
    }
}
