//! Folders and cells for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::disk;
use super::file_thread::FileThread;
use super::lock::DirectoryLock;
use super::secret::TierSecret;
use super::{Directory, DirectorySecret, DirectorySettings};
use crate::clock::SteadyClock;
use crate::domain::{
    AgentId, CredentialId, Digest, Entry, EntryIndex, FilterFacts, NewRow, Row, Span, Timestamp,
};
use crate::store::EntryKey;
use crate::tier::{Cell, CellEntry, CellSegment, TierScope};

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct TempFolder(PathBuf);

impl TempFolder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fanfold-tier-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Stalls a thread until what is returned is dropped.
pub(super) fn stall(thread: &FileThread) -> Sender<()> {
    let ((go, stalled), (say, said)) = (channel::<()>(), channel());
    thread.begin(move || {
        say.send(()).unwrap();
        let _ = stalled.recv();
    });
    said.recv().unwrap();
    go
}

/// The secret of a line that repeats this digit.
pub(super) fn secret(digits: &[u8]) -> TierSecret {
    let lines: Vec<_> = digits.iter().map(|digit| digit.to_string().repeat(40)).collect();
    TierSecret::parse(lines.join("\n").as_bytes()).unwrap()
}

pub(super) fn scope(number: u8) -> TierScope {
    TierScope {
        key: [number; 16],
        agent: AgentId::new(uuid::Uuid::from_bytes([number; 16])),
        credential: CredentialId::new([7; 16]),
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(super) fn span(from: i64, to: i64) -> Span {
    Span::new(at(from), at(to)).unwrap()
}

/// An entry of rows that were created at these seconds, newest first.
pub(super) fn entry(created: &[i64], read: i64) -> Arc<Entry> {
    let rows: Vec<_> = created.iter().map(|created| new_row(*created, read)).collect();
    Arc::new(Entry::new(&rows))
}

fn new_row(created: i64, read: i64) -> NewRow {
    let text = format!("{{\"id\":\"row-{created}\",\"said\":\"{}\"}}", "so it was said ".repeat(5));
    let row = Row {
        id: format!("row-{created}").as_str().into(),
        created_at: Some(at(created)),
        updated_at: None,
        facts: FilterFacts::default(),
        status: None,
        bytes: text.into(),
    };
    let digest = Digest(u128::from(created.unsigned_abs()));
    NewRow { row, created_at: at(created), read_at: at(read), digest }
}

/// A cell of the week that begins in 1970 with one segment, which holds all rows of an entry.
pub(super) fn cell(of: &TierScope, number: u128, span: Span, index: &Arc<EntryIndex>, read: i64) -> Cell {
    let key = EntryKey { scope: of.key, number };
    let rows = (!index.is_empty()).then(|| (0, 0..index.len()));
    let segment = CellSegment { span, read_at: at(read), latest_read_at: at(read), rows };
    let entries =
        if index.is_empty() { Vec::new() } else { vec![CellEntry { key, index: Arc::clone(index) }] };
    Cell { week: crate::tier::week_of(span.from()), segments: vec![segment], entries }
}

pub(super) const WEEK: i64 = 7 * 24 * 3600;
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A disk with a secret on it.
pub(super) struct Disk {
    pub(super) folder: TempFolder,
    pub(super) now: Timestamp,
}

impl Disk {
    pub(super) fn new() -> Self {
        let disk = Self { folder: TempFolder::new(), now: at(100 * WEEK) };
        disk.set_secret(&[1]);
        disk
    }

    pub(super) fn set_secret(&self, digits: &[u8]) {
        let lines: Vec<_> = digits.iter().map(|digit| digit.to_string().repeat(40)).collect();
        fs::write(self.folder.path().join("secret"), lines.join("\n")).unwrap();
    }

    pub(super) fn tier(&self) -> PathBuf {
        self.folder.path().join("tier")
    }

    pub(super) fn open_with(&self, bytes: u64, now: Timestamp) -> Arc<Directory> {
        let settings = DirectorySettings { path: self.tier(), bytes, max_age: 2 * DAY };
        let secret = DirectorySecret::read(&self.folder.path().join("secret")).unwrap();
        Directory::open(settings, secret, SteadyClock::showing(now)).unwrap()
    }

    pub(super) fn open(&self) -> Arc<Directory> {
        self.open_with(1 << 30, self.now)
    }

    /// Ends a process, and waits until its lock is free.
    pub(super) fn close(&self, directory: Arc<Directory>) {
        drop(directory);
        while !matches!(DirectoryLock::try_take(&self.tier().join("lock")), Ok(Some(_))) {
            std::thread::yield_now();
        }
    }

    /// Every file below the scopes' folders.
    pub(super) fn files(&self, extension: &str) -> Vec<PathBuf> {
        let namespaces = disk::list(&self.tier());
        let scopes = namespaces.iter().flat_map(|path| disk::list(path));
        let files = scopes.flat_map(|path| disk::list(&path));
        files.filter(|path| disk::has_extension(path, extension)).collect()
    }

    pub(super) fn read_at(&self) -> i64 {
        self.now.as_micros() / 1_000_000 - 60
    }
}
