//! What a directory counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of looking for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileOutcome {
    /// It was read.
    Hit,
    /// There is none.
    Miss,
    /// It is damaged, or can't be read.
    Corrupt,
    /// Another version of fanfold wrote it.
    Foreign,
}

/// What a directory did so far.
#[derive(Debug, Default)]
pub(super) struct TierCounters {
    files: [AtomicU64; 4],
    pub(super) late: AtomicU64,
    pub(super) late_times: AtomicU64,
    pub(super) saved: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) away: AtomicU64,
    pub(super) evicted: AtomicU64,
    reading_micros: AtomicU64,
    writing_micros: AtomicU64,
}

/// Whether a directory is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectoryState {
    /// It is.
    Used,
    /// Another process writes there: this one only reads.
    #[default]
    Away,
    /// Nothing can be written: the disk is full, read-only or fails.
    Failing,
}

/// What a directory holds and did so far.
#[derive(Clone, Debug, Default)]
pub struct DirectoryStats {
    /// Whether it is used.
    pub state: DirectoryState,
    /// What it may hold, in bytes.
    pub capacity: u64,
    /// What it holds.
    pub bytes: u64,
    /// Files that were looked for, by outcome.
    pub files: [(&'static str, u64); 5],
    /// Writes by outcome.
    pub saves: [(&'static str, u64); 3],
    /// Times of requests that were not on the disk in time.
    pub late_times: u64,
    /// Scopes and weeks that were removed to make room.
    pub evictions: u64,
    /// Seconds spent reading and writing.
    pub seconds: [(&'static str, f64); 2],
}

impl TierCounters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn file(&self, outcome: FileOutcome) {
        Self::add(&self.files[outcome as usize]);
    }

    pub(super) fn read_for(&self, time: Duration) {
        add_micros(&self.reading_micros, time);
    }

    pub(super) fn wrote_for(&self, time: Duration) {
        add_micros(&self.writing_micros, time);
    }

    pub(super) fn snapshot(&self) -> DirectoryStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter| Duration::from_micros(get(counter)).as_secs_f64();
        let [hit, miss, corrupt, foreign] = &self.files;
        DirectoryStats {
            files: [
                ("hit", get(hit)),
                ("miss", get(miss)),
                ("corrupt", get(corrupt)),
                ("foreign", get(foreign)),
                ("late", get(&self.late)),
            ],
            saves: [("saved", get(&self.saved)), ("failed", get(&self.failed)), ("away", get(&self.away))],
            late_times: get(&self.late_times),
            evictions: get(&self.evicted),
            seconds: [("read", seconds(&self.reading_micros)), ("write", seconds(&self.writing_micros))],
            ..DirectoryStats::default()
        }
    }
}

fn add_micros(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
