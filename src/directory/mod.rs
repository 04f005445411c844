//! A tier in a directory of a local disk.
//!
//! Everything in it is a [sealed](crate::sealed) record.
//!
//! ```text
//! <dir>/lock                           one process writes: the kernel's lock on this open file
//! <dir>/requests                       the times of upstream requests
//! <dir>/<namespace>/voids              void marks; a namespace for each line of the secret
//! <dir>/<namespace>/<scope>/<x>.cell   what is known of one week
//! <dir>/<namespace>/<scope>/<y>.rows   the bytes of one entry, which never change
//! ```
//!
//! One process writes, and it reads what is kept of a week before it writes that week, so there are no states to merge and no
//! journal. Files are replaced by renaming, so a process without the lock can read; it takes over when the lock is free.
//!
//! Three threads wait for the disk: one reads, one writes, and one notes the times of requests. Their queues are bounded, and
//! nothing but the task that saves waits for them longer than a moment.

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

/// How long the start waits to learn whether another process writes.
const START: Duration = Duration::from_millis(250);

/// The most jobs that wait for the disk, for each thread.
const QUEUE: usize = 256;

/// The longest that a purge waits for the disk.
const VOID_TIME: Duration = Duration::from_secs(5);

/// What a directory is opened with.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// Where it is. It is created if it does not exist.
    pub path: PathBuf,
    /// The most bytes that it holds.
    pub bytes: u64,
    /// Nothing older is served.
    pub max_age: Duration,
}

/// Finds out whether a directory can be used. Blocks.
pub fn check(path: &Path, secret: &SecretSource, bytes: u64) -> Vec<Finding> {
    check::check(path, secret.secret(), bytes)
}

/// A directory that keeps what is known.
#[derive(Debug)]
pub struct Directory {
    shared: Arc<SharedDirectory>,
    capacity: u64,
    reader: FileThread,
    writer: FileThread,
    requests: Arc<RequestFile>,
}

impl Directory {
    /// Opens a directory. Whatever is wrong with it shows in the state: a gateway starts without it too. Times are by `clock`,
    /// which must be the engine's.
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
        // A file system over a network may never say who has the lock.
        let _late = said.recv_timeout(START);
        let reader = FileThread::start("tier-read", QUEUE, || Duration::from_secs(3600))?;
        let requests = Arc::new(RequestFile::open(files, counters, clock)?);
        Ok(Arc::new(Self { shared, capacity: bytes, reader, writer, requests }))
    }

    /// The times of requests that are kept here.
    pub fn request_times(&self) -> Arc<dyn RequestTimes> {
        Arc::<RequestFile>::clone(&self.requests)
    }

    /// What it holds and did so far.
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
        let Ok(cells) = self.reader.soon(move || shared.load(&scope)).await else {
            TierCounters::add(&self.shared.counters.late);
            return Vec::new();
        };
        if self.shared.files.writes() {
            let shared = Arc::clone(&self.shared);
            self.writer.begin(move || shared.tidy(&scope));
        }
        cells
    }

    async fn rows(
        &self,
        scope: TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> Vec<Option<Arc<Entry>>> {
        let (shared, count) = (Arc::clone(&self.shared), entries.len());
        match self.reader.soon(move || shared.load_rows(&scope, &entries)).await {
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
        self.writer.done(move || shared.save(&scope, &changes)).await.unwrap_or(Saved::No)
    }

    async fn mark(&self, what: Voided, at: Timestamp) -> Result<(), TierUnavailable> {
        self.shared.note_void(&what, at);
        if !self.shared.files.writes() {
            return Err(TierUnavailable);
        }
        let shared = Arc::clone(&self.shared);
        match timeout(VOID_TIME, self.writer.done(move || shared.write_marks())).await {
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
        async move { self.reader.soon(move || shared.voided(&scopes)).await.unwrap_or_default() }.boxed()
    }

    fn status(&self) -> TierStatus {
        TierStatus { kind: TierKind::Directory, is_ok: self.shared.state() == TierStateReading::Used }
    }
}
