//! Finds how far down to plan for a question that wants only its newest rows.
//!
//! Known rows are counted until there are enough. If a gap comes first, the number of its rows is unknown, so
//! the plan ends with the topmost window of the gap; the rows found there decide whether more is needed. The
//! head is the exception: few rows are created between two polls, and the due rows below it come with the
//! same request.

use std::time::Duration;

use crate::domain::{Span, Statuses, Timestamp};
use crate::engine::coverage::{Coverage, Segment, Trust};
use crate::engine::terms::RowNeed;

/// The top of a span, planned down to this many of its newest rows.
pub(in crate::engine) fn newest_part(
    coverage: &Coverage,
    span: Span,
    rows: u64,
    statuses: Option<&Statuses>,
    need: &RowNeed,
    window: Duration,
) -> Span {
    let down_to = |from: Timestamp| Span::new(from, span.to()).unwrap_or(span);
    let (mut left, mut rest, mut has_gap) = (rows, Some(span), false);
    for segment in coverage.overlapping(span).filter(|segment| segment.serves(span, need)) {
        let Some(open) = rest else { break };
        if let Some(gap) = open.after(segment.span.to()) {
            if has_gap {
                return down_to(gap.to().next());
            }
            has_gap = true;
            let top = topmost(gap, window);
            if top != gap || gap.to() != span.to() {
                return down_to(top.from());
            }
        }
        rest = open.before(segment.span.from());
        if let Some(instant) = nth_row(segment, open, statuses, &mut left) {
            return down_to(instant);
        }
    }
    match rest {
        None => span,
        Some(gap) if has_gap && gap != span => down_to(gap.to().next()),
        Some(gap) => down_to(topmost(gap, window).from()),
    }
}

/// The position in a segment of the last row needed. If that row is not in the segment, `left` is lowered by
/// the rows of the segment.
fn nth_row(
    segment: &Segment,
    within: Span,
    statuses: Option<&Statuses>,
    left: &mut u64,
) -> Option<Timestamp> {
    let rows = segment.facts_within(within)?;
    let is_wanted = |status: Option<_>| statuses.is_none_or(|statuses| statuses.has(status));
    for row in rows.iter().filter(|row| is_wanted(row.status)) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            // An indivisible segment is taken as a whole.
            let is_divisible = segment.trust != Trust::Indivisible;
            return Some(if is_divisible { row.created_at } else { segment.span.from().max(within.from()) });
        }
    }
    None
}

fn topmost(gap: Span, window: Duration) -> Span {
    gap.split(window).first().copied().unwrap_or(gap)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Status};
    use crate::engine::coverage::Contents;
    use crate::store::EntryKey;

    const WINDOW: Duration = Duration::from_secs(7 * 86_400);
    const HOUR: i64 = 3_600_000_000;

    fn hours(from: i64, to: i64) -> Span {
        Span::new(Timestamp::from_micros(from * HOUR), Timestamp::from_micros(to * HOUR - 1)).unwrap()
    }

    /// The segments given, each with one row at the start of every hour.
    struct KnownSpans {
        coverage: Coverage,
        #[expect(dead_code, reason = "kept alive: segments refer to their entries weakly")]
        entries: Vec<Arc<Entry>>,
    }

    impl KnownSpans {
        fn new(segments: &[(i64, i64, Trust)]) -> Self {
            let (mut coverage, mut entries) = (Coverage::default(), Vec::new());
            for (number, &(from, to, trust)) in segments.iter().enumerate() {
                let row = |hour: i64| NewRow {
                    row: Row {
                        id: hour.to_string().into(),
                        created_at: Some(Timestamp::from_micros(hour * HOUR)),
                        updated_at: None,
                        facts: FilterFacts::default(),
                        status: Some(Status::new(if hour % 2 == 0 { "busy" } else { "failed" })),
                        bytes: "{}".into(),
                    },
                    created_at: Timestamp::from_micros(hour * HOUR),
                    read_at: Timestamp::from_micros(0),
                    is_doubted: false,
                    digest: Digest(1),
                };
                let entry = Arc::new(Entry::new(&(from..to).rev().map(row).collect::<Vec<_>>()));
                let key = EntryKey { scope: [0; 16], number: number as u128 };
                let contents = Contents::of(key, &entry, 0..entry.rows().len());
                let read_at = Timestamp::from_micros(0);
                let span = hours(from, to);
                coverage
                    .replace(span, vec![Segment { span, read_at, latest_read_at: read_at, trust, contents }]);
                entries.push(entry);
            }
            Self { coverage, entries }
        }

        /// The hour at which the plan ends for this many rows of the thousand hours before hour 2000.
        fn ends_at(&self, rows: u64, status: Option<&str>) -> i64 {
            let statuses = status.map(|status| Statuses::from(Status::new(status)));
            let part = newest_part(
                &self.coverage,
                hours(1_000, 2_000),
                rows,
                statuses.as_ref(),
                &RowNeed::Bytes,
                WINDOW,
            );
            assert_eq!(part.to(), hours(1_000, 2_000).to());
            part.from().as_micros() / HOUR
        }
    }

    #[test]
    fn ends_at_the_last_needed_row_if_enough_are_known() {
        let known = KnownSpans::new(&[(1_900, 2_000, Trust::Proven), (1_000, 1_900, Trust::Proven)]);
        assert_eq!(known.ends_at(1, None), 1_999);
        assert_eq!(known.ends_at(150, None), 1_850);
        assert_eq!(known.ends_at(1_000, None), 1_000);
        assert_eq!(known.ends_at(9_999, None), 1_000);
        assert_eq!(known.ends_at(50, Some("busy")), 1_900);
        assert_eq!(known.ends_at(50, Some("stopped")), 1_000);
    }

    #[test]
    fn ends_with_the_first_window_of_an_unknown_history() {
        assert_eq!(KnownSpans::new(&[]).ends_at(1, None), 2_000 - 7 * 24);
        let far_below = KnownSpans::new(&[(1_000, 1_100, Trust::Proven)]);
        assert_eq!(far_below.ends_at(1, None), 2_000 - 7 * 24);
    }

    #[test]
    fn plans_the_head_together_with_the_known_rows_below_it() {
        let known = KnownSpans::new(&[(1_800, 1_990, Trust::Proven), (1_000, 1_700, Trust::Proven)]);
        assert_eq!(known.ends_at(20, None), 1_970);
        assert_eq!(known.ends_at(500, None), 1_800, "and not with another gap");
    }

    #[test]
    fn ends_with_the_gap_below_the_known_rows() {
        let known = KnownSpans::new(&[(1_950, 2_000, Trust::Proven), (1_000, 1_900, Trust::Proven)]);
        assert_eq!(known.ends_at(51, None), 1_900);
        let known = KnownSpans::new(&[(1_950, 2_000, Trust::Proven)]);
        assert_eq!(known.ends_at(51, None), 1_950 - 7 * 24);
    }

    #[test]
    fn takes_an_indivisible_segment_as_a_whole() {
        let known = KnownSpans::new(&[(1_900, 2_000, Trust::Indivisible)]);
        assert_eq!(known.ends_at(10, None), 1_900);
    }
}
