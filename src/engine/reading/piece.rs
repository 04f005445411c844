use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::domain::{Digest, NewRow, Page, RowId, Span, Timestamp};

/// A span with all of its rows, proven.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Piece {
    pub(in crate::engine) span: Span,
    /// Newest first, those of one instant by id, each id once.
    pub(in crate::engine) rows: Vec<NewRow>,
    /// When the first question that it rests on was asked.
    pub(in crate::engine) asked_at: AskedAt,
}

/// When a question went upstream, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct AskedAt {
    /// By ours, which ages are measured with.
    pub(in crate::engine) ours: Timestamp,
    /// By upstream's, which rows are dated with.
    pub(in crate::engine) upstream: Timestamp,
}

impl Piece {
    /// Puts rows in order and drops doubles: of one id, the row that was read last stays.
    pub(in crate::engine) fn new(span: Span, mut rows: Vec<NewRow>, asked_at: AskedAt) -> Self {
        let mut ids: HashSet<RowId> = HashSet::with_capacity(rows.len());
        rows.reverse();
        rows.retain(|row| span.contains(row.created_at) && ids.insert(row.row.id.clone()));
        rows.sort_by(|a, b| (Reverse(a.created_at), &a.row.id).cmp(&(Reverse(b.created_at), &b.row.id)));
        Self { span, rows, asked_at }
    }
}

/// Gives every row of a page its place in the order: its own instant, or for a row without a readable one that of
/// the row before it. What comes before all others takes the instant of the first row with a date, so that its place
/// is the same whenever it is read, and only on a page without any that of the region's end.
///
/// A page may reach beyond the region that is read. A row without a date between one outside and one inside may be
/// either, so it counts as inside: whoever reads the other side may not have been shown it.
pub(in crate::engine) fn place(
    page: Page,
    before: Option<Timestamp>,
    region: Span,
    read_at: Timestamp,
) -> Vec<NewRow> {
    let dated: Vec<Option<Timestamp>> = page.rows.iter().map(|row| row.created_at).collect();
    let below = |position: usize| dated[position..].iter().find_map(|at| *at);
    let mut before = before;
    let mut placed = Vec::with_capacity(dated.len());
    for (position, row) in page.rows.into_iter().enumerate() {
        before = row.created_at.or(before);
        let created_at = match (row.created_at, before, below(position)) {
            (Some(at), _, _) => at,
            (None, Some(above), below) if above > region.to() => {
                below.filter(|below| *below > region.to()).map_or(region.to(), |_| above)
            }
            (None, Some(above), _) => above,
            (None, None, Some(below)) => below.max(region.from()),
            (None, None, None) => region.to(),
        };
        let digest = digest(&row.bytes);
        placed.push(NewRow { created_at, row, read_at, digest });
    }
    placed
}

/// How far outside the span a row may lie: a comparison at whole seconds reaches one second beyond.
const DATE_SLACK: Duration = Duration::from_secs(2);

/// A span with what a coarse comparison may bring beside it.
pub(super) fn around(asked: Span) -> Span {
    asked.union(Span::at(asked.from().minus(DATE_SLACK))).union(Span::at(asked.to().plus(DATE_SLACK)))
}

/// Whether a row of a page is dated elsewhere than was asked for: then upstream ignores the dates, or the row is dated
/// oddly.
pub(super) fn has_strays(page: &Page, asked: Span) -> bool {
    let around = around(asked);
    page.rows.iter().filter_map(|row| row.created_at).any(|at| !around.contains(at))
}

/// Takes their dates from rows that are dated elsewhere than was asked for: upstream knows better where they belong.
pub(super) fn undate_strays(page: &mut Page, asked: Span) {
    let around = around(asked);
    for row in &mut page.rows {
        row.created_at = row.created_at.filter(|at| around.contains(*at));
    }
}

/// The same on every machine and in every run, since it becomes part of entity tags.
fn digest(bytes: &[u8]) -> Digest {
    let full = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    Digest(u128::from_be_bytes(half))
}
