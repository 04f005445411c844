use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::coverage::{Contents, Coverage, Segment, Trust};
use super::freshness::{Membership, Policy, Stagger};
use super::plan::{self, OtherCallers, PlanContext, Probing};
use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Span, Status, Timestamp};
use crate::store::EntryKey;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const HOUR: Duration = Duration::from_hours(1);

/// A large coverage for measuring plans in `cargo bench`.
///
/// Its segments are an hour wide and adjacent; the newest ends now. All rows are settled except for those of
/// the newest three hours, and nothing is due.
#[derive(Debug)]
pub struct Yardstick {
    coverage: Coverage,
    policy: Policy,
    /// Segments point at their entries weakly.
    _entries: Vec<Arc<Entry>>,
}

impl Yardstick {
    /// A coverage with this many segments of this many rows.
    pub fn new(segments: u32, rows: u32) -> Self {
        let (mut coverage, mut entries) = (Coverage::default(), Vec::new());
        for number in 0..segments {
            let to = NOW.minus(HOUR * number);
            let Some(span) = Span::new(to.minus(HOUR).next(), to) else { continue };
            let entry = Arc::new(Entry::new(&hour(to, number, rows)));
            let key = EntryKey { scope: [0; 16], number: number.into() };
            let contents = Contents::of(key, &entry, 0..entry.rows().len());
            let (read_at, trust) = (NOW, Trust::Proven);
            let segment = Segment { span, read_at, latest_read_at: read_at, trust, contents };
            coverage.replace(span, vec![segment]);
            entries.push(entry);
        }
        let policy = Policy {
            live: Duration::from_secs(10),
            settling: Duration::from_mins(2),
            settled: Duration::from_hours(24),
            max_age: None,
            min_fresh: Duration::ZERO,
            settle_after: 3 * HOUR,
            membership: Membership::Fixed,
            stagger: Stagger::default(),
            minutes_ahead: 0,
        };
        Self { coverage, policy, _entries: entries }
    }

    /// Plans a question about this time before the present, asked a second after everything was read. Returns
    /// the number of its parts.
    pub fn plan(&self, length: Duration) -> usize {
        let Some(span) = Span::new(NOW.minus(length), NOW) else { return 0 };
        let parts = self.coverage.look(span);
        let now = NOW.plus(Duration::from_secs(1));
        let anybody = PlanContext { status: None, others: OtherCallers::None, probing: Probing::AllBut(&[]) };
        plan::plan(&parts, span, &self.policy, anybody, now, 24 * 7 * HOUR).items.len()
    }
}

/// The rows of the hour that ends at an instant, newest first.
fn hour(to: Timestamp, number: u32, rows: u32) -> Vec<NewRow> {
    let row = |n: u32| {
        let created_at = to.minus(HOUR * n / rows.max(1));
        let row = Row {
            id: format!("{number}-{n:03}").into(),
            created_at: Some(created_at),
            updated_at: None,
            facts: FilterFacts::default(),
            status: Some(Status::new("completed")),
            bytes: Bytes::from_static(b"{}"),
        };
        NewRow { row, created_at, read_at: NOW, is_doubted: false, digest: Digest(1) }
    };
    (0..rows).map(row).collect()
}
