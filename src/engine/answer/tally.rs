use crate::domain::{Digest, EntrySlice, Timestamp};
use crate::engine::terms::{CacheReport, Freshness, Missing, StaleReason, Verdict};

/// What is known of the answer so far.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) as_of: Timestamp,
    pub(super) count: u64,
    pub(super) digest: Digest,
    pub(super) missing: Vec<Missing>,
    pub(super) freshness: Freshness,
    pub(super) report: CacheReport,
    pub(super) stale: Option<StaleReason>,
}

/// Where the rows of a slice came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrigin {
    Hit,
    Miss,
    Joined,
}

impl Tally {
    pub(super) fn new(as_of: Timestamp) -> Self {
        let (digest, freshness, report) = (Digest::default(), Freshness::default(), CacheReport::default());
        Self { as_of, count: 0, digest, missing: Vec::new(), freshness, report, stale: None }
    }

    pub(super) fn add(&mut self, slice: &EntrySlice, how: RowOrigin) {
        let rows = slice.len() as u64;
        self.count += rows;
        self.digest.add(slice.digest());
        let report = &mut self.report;
        *match how {
            RowOrigin::Hit if self.stale.is_some() => &mut report.stale_rows,
            RowOrigin::Hit => &mut report.hit_rows,
            RowOrigin::Miss => &mut report.miss_rows,
            RowOrigin::Joined => &mut report.joined_rows,
        } += rows;
    }

    pub(super) fn verdict(&self, total: Option<u64>) -> Verdict {
        Verdict {
            as_of: self.as_of,
            count: self.count,
            total,
            digest: self.digest,
            missing: self.missing.clone(),
            freshness: self.freshness,
            report: CacheReport { stale: self.stale, ..self.report },
        }
    }
}
