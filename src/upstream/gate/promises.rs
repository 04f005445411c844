use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::flow::{Branch, ShareGroup};

/// The most promises that are remembered.
const MOST: usize = 8192;

/// How late a caller may return and still have its place.
const LATE: Duration = Duration::from_secs(2);

/// When refused requests may return.
///
/// They are no longer queued, and all would get the same `Retry-After` if only the queue counted. So each
/// keeps a place among those of its caller (or its network, if its key is not proven yet) until it is due.
#[derive(Debug, Default)]
pub(super) struct Promises {
    due: BTreeMap<(Instant, u64), (ShareGroup, Option<Branch>)>,
    counts: HashMap<(ShareGroup, Option<Branch>), usize>,
    next: u64,
}

fn whose(group: ShareGroup, branch: Branch) -> (ShareGroup, Option<Branch>) {
    (group, (group == ShareGroup::Unproven).then_some(branch))
}

impl Promises {
    /// The number of places kept for others of the same caller or network.
    pub(super) fn ahead(&mut self, group: ShareGroup, branch: Branch, now: Instant) -> usize {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 + LATE <= now) {
            let whose = entry.remove();
            if let Some(count) = self.counts.get_mut(&whose) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&whose);
                }
            }
        }
        self.counts.get(&whose(group, branch)).copied().unwrap_or(0)
    }

    /// Records that a request may return at `due`.
    pub(super) fn add(&mut self, group: ShareGroup, branch: Branch, due: Instant) {
        if self.due.len() < MOST {
            self.due.insert((due, self.next), whose(group, branch));
            self.next += 1;
            *self.counts.entry(whose(group, branch)).or_default() += 1;
        }
    }
}
