//! The state that the threads of a directory share, and their work. Everything here blocks.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::disk;
use super::disk_room::{DiskRoom, Leftovers};
use super::kept_files::{AgeLimits, KeptFiles, SizeChange};
use super::lock::DirectoryLock;
use super::marks_cache::MarksCache;
use crate::clock::SteadyClock;
use crate::domain::{Entry, EntryIndex, Timestamp};
use crate::sealed::SampledLine;
use crate::sealed::SecretFile;
use crate::sealed::TierCounters;
use crate::store::EntryKey;
use crate::telemetry::TierStateReading;
use crate::tier::{Cell, Saved, ScopeChanges, TierScope, Voided};

/// The name of the file whose lock decides which process writes. All versions of fanfold and all secrets share it.
pub(super) const LOCK: &str = "lock";

/// How often to try for the lock, to reload the secret and to look after the files.
const EVERY: Duration = Duration::from_secs(1);

/// How long to write nothing after a failed write.
const REST: Duration = Duration::from_secs(5);

/// The state that the threads of a directory share.
#[derive(Debug)]
pub(super) struct SharedDirectory {
    pub(super) files: Arc<KeptFiles>,
    pub(super) counters: Arc<TierCounters>,
    marks: MarksCache,
    clock: SteadyClock,
    max_age: Duration,
    room: Mutex<DiskRoom>,
    /// Locked only by the thread that writes.
    writer: Mutex<WriterState>,
    is_failing: AtomicBool,
    cannot_write: SampledLine,
}

#[derive(Debug)]
struct WriterState {
    lock: Option<DirectoryLock>,
    secret_file: SecretFile,
    /// Whether the folders and void marks exist, without which nothing may be written.
    is_prepared: bool,
    /// Whether it was logged that another process writes.
    has_said_away: bool,
    rests_until: Option<Instant>,
}

impl SharedDirectory {
    pub(super) fn new(
        files: Arc<KeptFiles>,
        counters: Arc<TierCounters>,
        secret_file: SecretFile,
        clock: SteadyClock,
        (capacity, max_age): (u64, Duration),
    ) -> Self {
        let writer = WriterState {
            lock: None,
            secret_file,
            is_prepared: false,
            has_said_away: false,
            rests_until: None,
        };
        Self {
            files,
            counters,
            marks: MarksCache::default(),
            clock,
            max_age,
            room: Mutex::new(DiskRoom::new(capacity)),
            writer: Mutex::new(writer),
            is_failing: AtomicBool::new(false),
            cannot_write: SampledLine::default(),
        }
    }

    pub(super) fn state(&self) -> TierStateReading {
        match (self.files.writes(), self.is_failing.load(Ordering::Relaxed)) {
            (_, true) => TierStateReading::Failing,
            (true, false) => TierStateReading::Used,
            (false, false) => TierStateReading::Away,
        }
    }

    /// The bytes that the files take on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.room.lock().total()
    }

    /// See [`crate::tier::Tier::load`].
    pub(super) fn load(&self, scope: &TierScope) -> Vec<Cell> {
        let began = Instant::now();
        let limits = AgeLimits { now: self.clock.now(), max_age: self.max_age };
        let cells = self.files.load(scope, limits, self.void_until(scope));
        self.counters.read_for(began.elapsed());
        cells
    }

    /// See [`crate::tier::Tier::voided`].
    pub(super) fn voided(&self, scopes: &[TierScope]) -> Vec<(TierScope, Timestamp)> {
        let until = |scope: &TierScope| self.void_until(scope).map(|until| (*scope, until));
        scopes.iter().filter_map(until).collect()
    }

    /// Until when data of a scope is void, by the marks under any line of the secret.
    fn void_until(&self, scope: &TierScope) -> Option<Timestamp> {
        let (secret, now) = (self.files.secret(), self.clock.now());
        let until = |keys| self.marks.void_until(&self.files.namespace(keys), keys, scope, now);
        secret.all().iter().filter_map(until).max()
    }

    /// See [`crate::tier::Tier::load_rows`].
    pub(super) fn load_rows(
        &self,
        scope: &TierScope,
        entries: &[(EntryKey, Arc<EntryIndex>)],
    ) -> Vec<Option<Arc<Entry>>> {
        let began = Instant::now();
        let rows = self.files.load_rows(scope, entries);
        self.counters.read_for(began.elapsed());
        rows
    }

    /// Marks a scope as used, and sweeps its folder.
    pub(super) fn tidy(&self, scope: &TierScope) {
        if !self.may_write() {
            return;
        }
        let change = self.files.sweep(scope);
        let secret = self.files.secret();
        for folder in secret.all().iter().map(|keys| self.files.folder(keys, scope)) {
            // The next process reads the time from the folder. Usually only the newest line of the secret has one.
            let touched = File::open(&folder).and_then(|open| open.set_modified(SystemTime::now()));
            if touched.is_ok() {
                return self.room.lock().used(folder, scope, change);
            }
        }
    }

    /// See [`crate::tier::Tier::save`].
    pub(super) fn save(&self, scope: &TierScope, changes: &ScopeChanges) -> Saved {
        if !self.may_write() {
            TierCounters::add(if self.files.writes() { &self.counters.failed } else { &self.counters.away });
            return Saved::No;
        }
        let (began, mut change) = (Instant::now(), SizeChange::default());
        let saved = self.files.save(scope, changes, self.void_until(scope), &mut change);
        let secret = self.files.secret();
        self.room.lock().used(self.files.folder(secret.first(), scope), scope, change);
        while self.make_room() {}
        self.counters.wrote_for(began.elapsed());
        match saved {
            Ok(()) => {
                self.works();
                TierCounters::add(&self.counters.saved);
                // There is no other writer, so versions are of no use.
                Saved::Yes { before: 0, after: 0 }
            }
            Err(error) => {
                self.fails(&error);
                TierCounters::add(&self.counters.failed);
                Saved::No
            }
        }
    }

    /// Adds a mark, which applies at once, whether or not it can be written.
    pub(super) fn note_void(&self, what: &Voided, at: Timestamp) {
        for keys in self.files.secret().all() {
            self.marks.add(what, at, keys);
        }
    }

    /// Writes all marks. They are durable when this returns.
    ///
    /// # Errors
    /// Another process is the writer, or the disk is full or fails.
    pub(super) fn write_marks(&self) -> io::Result<()> {
        if !self.has_lock() {
            return Err(io::Error::other("another process writes to the directory"));
        }
        self.prepare().inspect_err(|error| self.fails(error))
    }

    /// The idle work of the thread that writes: tries for the lock, and looks after the files. Returns when to call it again.
    pub(super) fn tick(&self) -> Duration {
        self.reload_secret();
        if !self.has_lock() {
            self.try_lock();
        }
        if !self.files.writes() {
            return EVERY;
        }
        if !self.is_prepared() && self.is_rested() {
            match self.prepare() {
                Ok(()) => self.works(),
                Err(error) => self.fails(&error),
            }
        }
        let has_walked = self.room.lock().walk();
        if has_walked || self.make_room() { Duration::ZERO } else { EVERY }
    }

    /// Lets the next write be tried at once.
    #[cfg(test)]
    pub(super) fn end_rest(&self) {
        self.writer.lock().rests_until = None;
    }

    fn may_write(&self) -> bool {
        self.has_lock() && self.is_prepared() && self.is_rested()
    }

    fn is_prepared(&self) -> bool {
        self.writer.lock().is_prepared
    }

    fn is_rested(&self) -> bool {
        self.writer.lock().rests_until.is_none_or(|until| until <= Instant::now())
    }

    /// Whether this process has the lock, and the directory was not replaced since.
    fn has_lock(&self) -> bool {
        let mut writer = self.writer.lock();
        if writer.lock.as_ref().is_some_and(DirectoryLock::is_valid) {
            return true;
        }
        if writer.lock.take().is_some() {
            tracing::warn!(target: "fanfold::tier", path = %self.files.root().display(), "The tier's directory was removed or replaced.");
        }
        writer.is_prepared = false;
        self.files.set_writes(false);
        false
    }

    fn try_lock(&self) {
        let root = self.files.root();
        match std::fs::create_dir_all(root).and_then(|()| DirectoryLock::try_take(&root.join(LOCK))) {
            Ok(Some(taken)) => {
                let mut writer = self.writer.lock();
                (writer.lock, writer.has_said_away, writer.rests_until) = (Some(taken), false, None);
                drop(writer);
                self.files.set_writes(true);
                self.is_failing.store(false, Ordering::Relaxed);
                self.room.lock().begin_walk(root, Leftovers::Delete);
                tracing::info!(target: "fanfold::tier", path = %root.display(), "This process writes to the tier's directory.");
            }
            Ok(None) => {
                self.is_failing.store(false, Ordering::Relaxed);
                let has_said = std::mem::replace(&mut self.writer.lock().has_said_away, true);
                if !has_said {
                    tracing::warn!(target: "fanfold::tier", path = %root.display(), "Another process writes to the tier's directory. This one serves from memory and takes over as soon as it can.");
                }
            }
            Err(error) => self.fails(&error),
        }
    }

    /// Creates the folders and writes the void marks, because a folder without marks counts as one that lost them.
    fn prepare(&self) -> io::Result<()> {
        let secret = self.files.secret();
        for (line, keys) in secret.all().iter().enumerate() {
            let folder = self.files.namespace(keys);
            if line == 0 {
                disk::make_folder(&folder)?;
            }
            if folder.is_dir() {
                self.marks.write(&folder, keys, self.clock.now())?;
            }
        }
        self.writer.lock().is_prepared = true;
        Ok(())
    }

    fn reload_secret(&self) {
        let mut writer = self.writer.lock();
        let Some(secret) = writer.secret_file.changed() else { return };
        writer.is_prepared = false;
        self.files.set_secret(secret);
    }

    /// Removes the least recently used folder, or its oldest weeks, if the files take too much space. Returns whether it did.
    fn make_room(&self) -> bool {
        let Some(surplus) = self.room.lock().surplus() else { return false };
        let Some((folder, bytes, scope)) = self.room.lock().first_to_go() else { return false };
        if let Some(scope) = scope.filter(|_| bytes > surplus) {
            let (change, weeks) = self.files.shorten(&scope, surplus);
            self.counters.evicted.fetch_add(weeks, Ordering::Relaxed);
            if weeks > 0 {
                self.room.lock().shrank(&folder, change);
                return true;
            }
        }
        let removed = std::fs::remove_dir_all(&folder);
        self.room.lock().removed(&folder);
        TierCounters::add(&self.counters.evicted);
        removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
    }

    fn works(&self) {
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "fanfold::tier", path = %self.files.root().display(), "The tier's directory can be written again.");
        }
    }

    fn fails(&self, error: &io::Error) {
        self.is_failing.store(true, Ordering::Relaxed);
        self.writer.lock().rests_until = Some(Instant::now() + REST);
        if let Some(left_out) = self.cannot_write.next() {
            let path = self.files.root().display();
            tracing::warn!(target: "fanfold::tier", %path, %error, lines_left_out = left_out, "The tier's directory can't be written: {error}. Rows are served from memory.");
        }
    }
}
