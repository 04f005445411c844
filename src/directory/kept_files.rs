//! Reads and writes the folders of scopes, which have a file for each cell and a file for the bytes of each entry.
//!
//! Everything here blocks.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::disk;
use crate::domain::{Entry, EntryIndex, Timestamp};
use crate::sealed::SampledLine;
use crate::sealed::format::{decode_cell, decode_rows, encode_cell, encode_rows};
use crate::sealed::{FileOutcome, TierCounters};
use crate::sealed::{
    RecordKind, RecordName, TierKeys, TierSecret, Unsealed, extent, lay_over, not_void, only, weeks_of,
};
use crate::store::EntryKey;
use crate::tier::{Cell, ScopeChanges, TierScope, week_of};

/// The extension of a cell's file.
pub(super) const CELL: &str = "cell";

/// The extension of the file with the bytes of an entry.
const ROWS: &str = "rows";

/// How far in the future a read may seem to be. Files from further ahead are ignored: the clock was set back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The files of one directory.
#[derive(Debug)]
pub(super) struct KeptFiles {
    root: PathBuf,
    secret: Mutex<Arc<TierSecret>>,
    counters: Arc<TierCounters>,
    /// Whether this process writes here. Any other process must not remove damaged files.
    writes: AtomicBool,
    unreadable: SampledLine,
}

/// Which kept segments may be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeLimits {
    pub(super) now: Timestamp,
    /// The greatest age of a segment.
    pub(super) max_age: Duration,
}

/// The bytes on the disk that an operation added and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SizeChange {
    pub(super) added: u64,
    pub(super) removed: u64,
}

impl KeptFiles {
    pub(super) fn new(root: PathBuf, secret: TierSecret, counters: Arc<TierCounters>) -> Self {
        let (writes, unreadable) = (AtomicBool::new(false), SampledLine::default());
        Self { root, secret: Mutex::new(Arc::new(secret)), counters, writes, unreadable }
    }

    /// Whether this process writes here.
    pub(super) fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Sets whether this process writes here.
    pub(super) fn set_writes(&self, writes: bool) {
        self.writes.store(writes, Ordering::Relaxed);
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The current secret.
    pub(super) fn secret(&self) -> Arc<TierSecret> {
        Arc::clone(&self.secret.lock())
    }

    /// Replaces the secret.
    pub(super) fn set_secret(&self, secret: TierSecret) {
        *self.secret.lock() = Arc::new(secret);
    }

    /// The folder for a line of the secret.
    pub(super) fn namespace(&self, keys: &TierKeys) -> PathBuf {
        self.root.join(keys.names.namespace().to_string())
    }

    /// The folder of a scope.
    pub(super) fn folder(&self, keys: &TierKeys, scope: &TierScope) -> PathBuf {
        self.namespace(keys).join(keys.names.scope(&scope.key).to_string())
    }

    /// The segments of a scope that may be served: within the limits, and read after `void_until`.
    pub(super) fn load(
        &self,
        scope: &TierScope,
        limits: AgeLimits,
        void_until: Option<Timestamp>,
    ) -> Vec<Cell> {
        let (secret, mut weeks, mut cells) = (self.secret(), BTreeSet::new(), Vec::new());
        for keys in secret.all() {
            let latest = limits.now.plus(CLOCK_TOLERANCE);
            for cell in self.cells(keys, scope) {
                // An interrupted move leaves the same week under an older line of the secret.
                if !weeks.insert(cell.week) {
                    continue;
                }
                let cell = only(&not_void(&cell, void_until), |segment| {
                    segment.latest_read_at <= latest && limits.now.since(segment.read_at) <= limits.max_age
                });
                if !cell.segments.is_empty() {
                    cells.push(cell);
                }
            }
        }
        if weeks.is_empty() {
            self.counters.file(FileOutcome::Miss);
        }
        cells
    }

    /// The bytes of entries; `None` for those that can't be read.
    pub(super) fn load_rows(
        &self,
        scope: &TierScope,
        entries: &[(EntryKey, Arc<EntryIndex>)],
    ) -> Vec<Option<Arc<Entry>>> {
        let secret = self.secret();
        let rows = |(key, index): &(EntryKey, Arc<EntryIndex>)| {
            let found = secret.all().iter().find_map(|keys| {
                let name = keys.names.entry(key);
                let path = self.file(keys, scope, &name, ROWS);
                self.record(keys, RecordKind::Rows, &name, &path, |plain| decode_rows(plain, index))
            });
            if found.is_none() {
                self.counters.file(FileOutcome::Miss);
            }
            found.map(Arc::new)
        };
        entries.iter().map(rows).collect()
    }

    /// Writes what changed: first the bytes, then the cells that refer to them. Everything is durable when this returns.
    ///
    /// Does not write again what was read until `void_until`: its void mark may be under a line of the secret that is removed
    /// soon. Costs the whole cells of the weeks that changed, and the new bytes. Deletes an entry that no cell refers to any
    /// more, unless its rows reach into a week that did not change; [`sweep`](Self::sweep) deletes those.
    ///
    /// # Errors
    /// The disk is full or fails. Then files that were not replaced yet are unchanged.
    pub(super) fn save(
        &self,
        scope: &TierScope,
        changes: &ScopeChanges,
        void_until: Option<Timestamp>,
        size: &mut SizeChange,
    ) -> io::Result<()> {
        let secret = self.secret();
        let keys = secret.first();
        let folder = self.folder(keys, scope);
        disk::make_folder(&self.namespace(keys))?;
        disk::make_folder(&folder)?;
        for (key, entry) in &changes.rows {
            let name = keys.names.entry(key);
            let sealed = keys.sealer.seal(RecordKind::Rows, &name, &encode_rows(entry)?)?;
            size.write(&self.file(keys, scope, &name, ROWS), &sealed)?;
        }
        if !changes.rows.is_empty() {
            disk::sync_folder(&folder)?;
        }
        let mut dropped = Vec::new();
        for week in weeks_of(changes) {
            let new = changes.cells.iter().find(|cell| cell.week == week);
            let kept = self.cell(&secret, scope, week);
            if new.is_none() && kept.is_none() {
                continue;
            }
            let kept = kept.unwrap_or(Cell::empty(week));
            let laid = lay_over(&not_void(&kept, void_until), &changes.forgotten, new);
            self.write_cell(&secret, scope, &laid, size)?;
            let named: HashSet<_> = laid.entries.iter().map(|entry| entry.key).collect();
            let gone = kept.entries.into_iter().filter(|entry| !named.contains(&entry.key));
            dropped.extend(gone.filter(|entry| is_within(&entry.index, week)).map(|entry| entry.key));
        }
        disk::sync_folder(&folder)?;
        for key in dropped {
            for keys in secret.all() {
                let name = keys.names.entry(&key);
                size.remove(&self.file(keys, scope, &name, ROWS))?;
            }
        }
        Ok(())
    }

    /// Deletes the bytes of entries that no cell of a scope refers to. Keeps them if a cell is of another version, because that
    /// may refer to them.
    pub(super) fn sweep(&self, scope: &TierScope) -> SizeChange {
        let (secret, mut size) = (self.secret(), SizeChange::default());
        let entries: Vec<_> = secret
            .all()
            .iter()
            .flat_map(|keys| self.cells(keys, scope))
            .flat_map(|cell| cell.entries.into_iter().map(|entry| entry.key))
            .collect();
        for keys in secret.all() {
            let named: HashSet<_> = entries.iter().map(|key| keys.names.entry(key).to_string()).collect();
            let files = disk::list(&self.folder(keys, scope));
            if files.iter().any(|path| disk::has_extension(path, CELL) && self.is_foreign(keys, path)) {
                continue;
            }
            let is_named =
                |path: &Path| path.file_stem().is_some_and(|stem| named.contains(&*stem.to_string_lossy()));
            for path in files.iter().filter(|path| disk::has_extension(path, ROWS) && !is_named(path)) {
                let _stays_if_it_can_not = size.remove(path);
            }
        }
        size
    }

    /// Removes the oldest weeks of a scope with the bytes of their entries until `surplus` bytes are removed. Also returns the
    /// number of removed weeks.
    pub(super) fn shorten(&self, scope: &TierScope, surplus: u64) -> (SizeChange, u64) {
        let (secret, mut size, mut removed) = (self.secret(), SizeChange::default(), 0);
        for keys in secret.all().iter().rev() {
            let mut cells = self.cells(keys, scope);
            cells.sort_unstable_by_key(|cell| cell.week);
            for cell in cells {
                if size.removed >= surplus {
                    return (size, removed);
                }
                let name = keys.names.cell(&scope.key, cell.week);
                let mut files = vec![self.file(keys, scope, &name, CELL)];
                let entries = cell.entries.iter().map(|entry| keys.names.entry(&entry.key));
                files.extend(entries.map(|name| self.file(keys, scope, &name, ROWS)));
                for file in files {
                    let _stays_if_it_can_not = size.remove(&file);
                }
                removed += 1;
            }
        }
        (size, removed)
    }

    fn file(&self, keys: &TierKeys, scope: &TierScope, name: &RecordName, extension: &str) -> PathBuf {
        self.folder(keys, scope).join(format!("{name}.{extension}"))
    }

    /// All cells of a scope under a line of the secret.
    fn cells(&self, keys: &TierKeys, scope: &TierScope) -> Vec<Cell> {
        let files = disk::list(&self.folder(keys, scope));
        let cells = files
            .iter()
            .filter(|path| disk::has_extension(path, CELL))
            .filter_map(|path| self.read_cell(keys, scope, &record_name(path)?, path));
        cells.collect()
    }

    /// The cell of a week under any line of the secret.
    fn cell(&self, secret: &TierSecret, scope: &TierScope, week: i64) -> Option<Cell> {
        secret.all().iter().find_map(|keys| {
            let name = keys.names.cell(&scope.key, week);
            let path = self.file(keys, scope, &name, CELL);
            self.read_cell(keys, scope, &name, &path)
        })
    }

    fn read_cell(&self, keys: &TierKeys, scope: &TierScope, name: &RecordName, path: &Path) -> Option<Cell> {
        self.record(keys, RecordKind::Cell, name, path, |plain| {
            let cell = decode_cell(plain, scope.key)?;
            // A cell of another scope or a copy under another name must not count.
            (keys.names.cell(&scope.key, cell.week) == *name).then_some(cell)
        })
    }

    /// Writes a cell under the first line of the secret and removes it under the others. An empty cell is removed under all.
    fn write_cell(
        &self,
        secret: &TierSecret,
        scope: &TierScope,
        cell: &Cell,
        size: &mut SizeChange,
    ) -> io::Result<()> {
        let path = |keys: &TierKeys| {
            let name = keys.names.cell(&scope.key, cell.week);
            (name, self.file(keys, scope, &name, CELL))
        };
        let (first, others) = (secret.first(), secret.all().get(1..).unwrap_or_default());
        let (name, file) = path(first);
        if cell.segments.is_empty() {
            size.remove(&file)?;
        } else {
            let sealed = first.sealer.seal(RecordKind::Cell, &name, &encode_cell(cell))?;
            size.write(&file, &sealed)?;
        }
        others.iter().try_for_each(|keys| size.remove(&path(keys).1))
    }

    /// Reads a record; `None` if it does not exist or can't be used.
    fn record<T>(
        &self,
        keys: &TierKeys,
        kind: RecordKind,
        name: &RecordName,
        path: &Path,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let (outcome, problem, is_rubbish) = match disk::read(path) {
            Ok(None) => return None,
            Ok(Some(mut sealed)) => match keys.sealer.open(kind, name, &mut sealed) {
                Ok(plain) => match decode(plain) {
                    Some(record) => {
                        self.counters.file(FileOutcome::Hit);
                        return Some(record);
                    }
                    None => (FileOutcome::Corrupt, "its content is not valid".to_owned(), true),
                },
                Err(Unsealed::Foreign) => (FileOutcome::Foreign, Unsealed::Foreign.to_string(), false),
                Err(Unsealed::Corrupt) => (FileOutcome::Corrupt, Unsealed::Corrupt.to_string(), true),
            },
            Err(error) => (FileOutcome::Corrupt, error.to_string(), false),
        };
        self.counters.file(outcome);
        if is_rubbish && self.writes() {
            let _stays_if_it_can_not = disk::remove(path);
        }
        if let Some(left_out) = self.unreadable.next() {
            tracing::warn!(target: "fanfold::tier", path = %path.display(), problem, lines_left_out = left_out, "A file of the tier can't be used, so its rows are read from upstream again: {problem}.");
        }
        None
    }

    fn is_foreign(&self, keys: &TierKeys, path: &Path) -> bool {
        let (Some(name), Ok(Some(mut sealed))) = (record_name(path), disk::read(path)) else { return true };
        matches!(keys.sealer.open(RecordKind::Cell, &name, &mut sealed), Err(Unsealed::Foreign))
    }
}

impl SizeChange {
    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let before = disk::size(path);
        disk::replace(path, content)?;
        self.removed += before;
        self.added += disk::on_disk(content.len() as u64);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let before = disk::size(path);
        disk::remove(path)?;
        self.removed += before;
        Ok(())
    }
}

/// The name of the record in a file.
pub(super) fn record_name(path: &Path) -> Option<RecordName> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Whether all rows of an index are in this week.
fn is_within(index: &EntryIndex, week: i64) -> bool {
    extent(index).is_none_or(|(first, last)| week_of(first) == week && week_of(last) == week)
}
