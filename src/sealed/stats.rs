//! What a tier counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::TierReadings;

/// The outcome of a look-up of a file in a directory, or of a value in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOutcome {
    /// It was read.
    Hit,
    /// There is none.
    Miss,
    /// It is damaged, or can't be read.
    Corrupt,
    /// It is in the format of another version of fanfold.
    Foreign,
}

/// What a tier has done since the start.
#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    files: [AtomicU64; 4],
    pub(crate) late: AtomicU64,
    pub(crate) late_times: AtomicU64,
    pub(crate) saved: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) away: AtomicU64,
    pub(crate) evicted: AtomicU64,
    reading_micros: AtomicU64,
    writing_micros: AtomicU64,
}

impl TierCounters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn file(&self, outcome: FileOutcome) {
        Self::add(&self.files[outcome as usize]);
    }

    pub(crate) fn read_for(&self, time: Duration) {
        add_micros(&self.reading_micros, time);
    }

    pub(crate) fn wrote_for(&self, time: Duration) {
        add_micros(&self.writing_micros, time);
    }

    /// The counts. The caller adds the state, the capacity and what is held.
    pub(crate) fn readings(&self) -> TierReadings {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter| Duration::from_micros(get(counter)).as_secs_f64();
        let [hit, miss, corrupt, foreign] = &self.files;
        TierReadings {
            files: vec![
                ("hit", get(hit)),
                ("miss", get(miss)),
                ("corrupt", get(corrupt)),
                ("foreign", get(foreign)),
                ("late", get(&self.late)),
            ],
            saves: vec![
                ("saved", get(&self.saved)),
                ("failed", get(&self.failed)),
                ("away", get(&self.away)),
            ],
            late_times: get(&self.late_times),
            evictions: get(&self.evicted),
            seconds: vec![("read", seconds(&self.reading_micros)), ("write", seconds(&self.writing_micros))],
            ..TierReadings::default()
        }
    }
}

fn add_micros(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
