//! Directories for tests.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::disk;
use super::file_thread::FileThread;
use super::lock::DirectoryLock;
use super::{Directory, DirectorySettings};
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::sealed::SecretSource;
use crate::sealed::testing::{TempFolder, at};

/// Stalls a thread until the returned sender is dropped.
pub(super) fn stall(thread: &FileThread) -> Sender<()> {
    let ((go, stalled), (say, said)) = (channel::<()>(), channel());
    thread.enqueue(move || {
        say.send(()).unwrap();
        let _ = stalled.recv();
    });
    said.recv().unwrap();
    go
}

pub(super) const WEEK: i64 = 7 * 24 * 3600;
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A folder with a secret file, and a tier in a folder of it.
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
        let secret = SecretSource::read(&self.folder.path().join("secret")).unwrap();
        Directory::open(settings, secret, SteadyClock::showing(now)).unwrap()
    }

    pub(super) fn open(&self) -> Arc<Directory> {
        self.open_with(1 << 30, self.now)
    }

    /// Closes a directory, and waits until its lock is free.
    pub(super) fn close(&self, directory: Arc<Directory>) {
        drop(directory);
        while !matches!(DirectoryLock::try_take(&self.tier().join("lock")), Ok(Some(_))) {
            std::thread::yield_now();
        }
    }

    /// The files with this extension in the folders of all scopes.
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
