use std::cmp::Ordering;
use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use crate::domain::{Digest, NewRow, Page, RowId, Span, Timestamp};
use crate::engine::terms::AskedAt;

/// A span with all of its rows, proven.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Piece {
    pub(in crate::engine) span: Span,
    /// Newest first; rows of one instant by id, then those without a date in the order of the list; each id
    /// once.
    pub(in crate::engine) rows: Vec<NewRow>,
    /// When the first of the requests for it was sent.
    pub(in crate::engine) asked_at: AskedAt,
}

impl Piece {
    /// Sorts rows and drops duplicates: of one id, the row that was read last stays.
    pub(in crate::engine) fn new(span: Span, mut rows: Vec<NewRow>, asked_at: AskedAt) -> Self {
        let mut ids: HashSet<RowId> = HashSet::with_capacity(rows.len());
        rows.reverse();
        rows.retain(|row| span.contains(row.created_at) && ids.insert(row.row.id.clone()));
        // Those without a date of their own follow the row that lent them its own.
        rows.reverse();
        rows.sort_by(|a, b| {
            let by_id = || match (a.row.created_at, b.row.created_at) {
                (None, None) => Ordering::Equal,
                (a_dated, b_dated) => (a_dated.is_none(), &a.row.id).cmp(&(b_dated.is_none(), &b.row.id)),
            };
            b.created_at.cmp(&a.created_at).then_with(by_id)
        });
        Self { span, rows, asked_at }
    }
}

/// Gives every row of a page its place in the order: its own instant. A row without a readable date gets that
/// of the row before it, or else of the row after it, or else, on a page without any date, the end of the
/// region.
///
/// A page may reach beyond the region that is read. A row without a date between one outside and one inside
/// counts as inside, because the page of the other region may not show it.
pub(in crate::engine) fn place(
    page: Page,
    before: Option<Timestamp>,
    region: Span,
    read_at: Timestamp,
) -> Vec<NewRow> {
    let mut below = None;
    let mut dated_below: Vec<Option<Timestamp>> = Vec::with_capacity(page.rows.len());
    for row in page.rows.iter().rev() {
        below = row.created_at.or(below);
        dated_below.push(below);
    }
    let mut above = before;
    let mut placed = Vec::with_capacity(page.rows.len());
    for (row, below) in page.rows.into_iter().zip(dated_below.into_iter().rev()) {
        above = row.created_at.or(above);
        let created_at = row.created_at.unwrap_or_else(|| between(above, below, region));
        let digest = digest(&row.bytes);
        placed.push(NewRow { created_at, row, read_at, is_doubted: false, digest });
    }
    placed
}

/// The place of a row without a date between those of its neighbors.
fn between(above: Option<Timestamp>, below: Option<Timestamp>, region: Span) -> Timestamp {
    let place = above.or(below).unwrap_or(region.to());
    let is_elsewhere = match (above, below) {
        (Some(above), Some(below)) => above.min(below) > region.to() || above.max(below) < region.from(),
        (Some(above), None) => above < region.from(),
        (None, Some(below)) => below > region.to(),
        (None, None) => false,
    };
    if is_elsewhere { place } else { place.clamp(region.from(), region.to()) }
}

/// The same on every machine and in every run, since it becomes part of entity tags.
pub(in crate::engine) fn digest(bytes: &[u8]) -> Digest {
    let full = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    Digest(u128::from_be_bytes(half))
}
