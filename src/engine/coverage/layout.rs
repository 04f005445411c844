//! Stores rows in entries: cuts pieces to about a page, and joins small neighbors.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::change::{CoverageChange, new_key};
use super::piece::Piece;
use super::segment::{Contents, Segment, Trust};
use crate::domain::{Entry, MAX_PAGE_SIZE, NewRow, Span, Timestamp};
use crate::store::ScopeKey;

/// The most rows of an entry made from joined neighbors.
///
/// About a page, so that what is evicted, cut or stored again at once stays small, and a join copies little.
const JOINED_ROWS: usize = MAX_PAGE_SIZE;

/// A part of a piece that becomes one entry.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Chunk<'a> {
    span: Span,
    trust: Trust,
    rows: &'a [NewRow],
}

/// Cuts a piece into chunks, newest first. Anything later than `trusted_to` is provisional. A piece with rows
/// without a date stays whole.
pub(in crate::engine) fn chunks(piece: &Piece, trusted_to: Timestamp) -> Vec<Chunk<'_>> {
    if piece.rows.iter().any(|row| row.row.created_at.is_none()) {
        return vec![Chunk { span: piece.span, trust: Trust::Indivisible, rows: &piece.rows }];
    }
    let provisional = piece.span.after(trusted_to).map(|part| pages(piece, part, Trust::Provisional));
    let proven = piece.span.before(trusted_to.next()).map(|part| pages(piece, part, Trust::Proven));
    provisional.into_iter().chain(proven).flatten().collect()
}

/// Cuts the part of a piece that lies in a span into chunks of about a page, newest first. Rows of one
/// instant stay together.
fn pages(piece: &Piece, part: Span, trust: Trust) -> Vec<Chunk<'_>> {
    let start = piece.rows.partition_point(|row| row.created_at > part.to());
    let end = piece.rows.partition_point(|row| row.created_at >= part.from());
    let mut rows = &piece.rows[start..end];
    let mut rest = Some(part);
    let mut chunks = Vec::new();
    while let Some(span) = rest {
        let cut = rows.get(JOINED_ROWS).map(|first_below| first_below.created_at);
        let taken = cut.map_or(rows.len(), |cut| rows.partition_point(|row| row.created_at > cut));
        // More rows of one instant than a chunk holds: they stay together, and the cut comes below them.
        let (taken, cut) = match rows.first() {
            Some(first) if taken == 0 => {
                let taken = rows.partition_point(|row| row.created_at >= first.created_at);
                (taken, rows.get(taken).map(|row| row.created_at))
            }
            _ => (taken, cut),
        };
        let (now, later) = rows.split_at(taken);
        let here = cut.and_then(|cut| span.after(seam(rows, taken, cut))).unwrap_or(span);
        chunks.push(Chunk { span: here, trust, rows: now });
        rest = span.before(here.from());
        rows = later;
    }
    chunks
}

/// Where to cut between a row and the next one below it, at `cut`.
///
/// Requests name whole seconds. After a cut at a row's own instant, every read of the rows above would
/// include that row, and a full page would take two requests. Two seconds between the rows leave room for a
/// cut that both sides can name.
fn seam(rows: &[NewRow], taken: usize, cut: Timestamp) -> Timestamp {
    let after = cut.floor_second().plus(Duration::from_secs(1));
    let above = taken.checked_sub(1).and_then(|last| rows.get(last));
    match above {
        Some(above) if above.created_at >= after.plus(Duration::from_secs(1)) => after.previous(),
        _ => cut,
    }
}

pub(in crate::engine) struct StoredChunk {
    pub(in crate::engine) segment: Segment,
    pub(in crate::engine) entry: Option<Arc<Entry>>,
    pub(in crate::engine) rows: Range<usize>,
}

impl StoredChunk {
    pub(in crate::engine) fn new(scope: ScopeKey, chunk: Chunk<'_>, read_at: Timestamp) -> Self {
        let entry = (!chunk.rows.is_empty()).then(|| Arc::new(Entry::new(chunk.rows)));
        let rows = 0..chunk.rows.len();
        let contents = match &entry {
            Some(entry) => Contents::of(new_key(scope), entry, rows.clone()),
            None => Contents::Empty,
        };
        let (span, trust) = (chunk.span, chunk.trust);
        Self { segment: Segment { span, read_at, latest_read_at: read_at, trust, contents }, entry, rows }
    }
}

/// Joins a segment with its neighbor, if the neighbor is proven and small, and both have their bytes or one
/// has no rows. Otherwise returns the segment as it is.
pub(in crate::engine) fn joined(
    scope: ScopeKey,
    segment: Segment,
    neighbor: &Segment,
    apart: Duration,
    change: &mut CoverageChange,
) -> Segment {
    let (earlier, later) = (segment.read_at.min(neighbor.read_at), segment.read_at.max(neighbor.read_at));
    if later.since(earlier) > apart {
        return segment;
    }
    let rows = segment.len() + neighbor.len();
    let is_free = segment.len() == 0 || neighbor.len() == 0;
    if neighbor.trust != Trust::Proven || (rows > JOINED_ROWS && !is_free) {
        return segment;
    }
    let span = segment.span.union(neighbor.span);
    let read_at = segment.read_at.min(neighbor.read_at);
    let latest_read_at = segment.latest_read_at.max(neighbor.latest_read_at);
    let contents = match (&segment.contents, &neighbor.contents) {
        (Contents::Empty, other) => other.clone(),
        (other, Contents::Empty) => other.clone(),
        (Contents::Rows { .. }, Contents::Rows { .. }) => {
            let is_above = segment.span.to() > neighbor.span.to();
            let (above, below) = if is_above { (&segment, neighbor) } else { (neighbor, &segment) };
            let (Some(above), Some(below)) = (above.rows(), below.rows()) else { return segment };
            let before = [&above, &below].map(|(entry, _)| Arc::clone(entry.index())).to_vec();
            let take = |(entry, positions): (Arc<Entry>, Range<usize>)| entry.take_rows(positions);
            let (Ok(mut rows), Ok(rest)) = (take(above), take(below)) else { return segment };
            rows.extend(rest);
            change.make(scope, &rows, before)
        }
    };
    Segment { span, read_at, latest_read_at, trust: Trust::Proven, contents }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, FilterFacts, Row};

    fn row(micros: i64) -> NewRow {
        let created_at = Timestamp::from_micros(micros);
        let row = Row {
            id: micros.to_string().into(),
            created_at: Some(created_at),
            updated_at: None,
            facts: FilterFacts::default(),
            status: None,
            bytes: "{}".into(),
        };
        NewRow { row, created_at, read_at: created_at, is_doubted: false, digest: Digest(1) }
    }

    #[test]
    fn distant_rows_are_cut_at_a_whole_second() {
        let rows = [row(9_300_000), row(5_700_000)];
        let seam = seam(&rows, 1, rows[1].created_at);
        assert_eq!(seam, Timestamp::from_micros(5_999_999));
        let above = Span::new(seam.next(), rows[0].created_at).unwrap().outward();
        let below = Span::new(Timestamp::MIN, seam).unwrap().outward();
        assert!(!above.contains(rows[1].created_at) && below.to() < rows[0].created_at.floor_second());
    }

    #[test]
    fn rows_of_neighboring_seconds_are_cut_at_the_lower_one() {
        let rows = [row(6_900_000), row(5_700_000)];
        assert_eq!(seam(&rows, 1, rows[1].created_at), rows[1].created_at);
    }
}
