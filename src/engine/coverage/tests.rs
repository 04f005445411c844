use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn span(from: i64, to: i64) -> Span {
    Span::new(at(from), at(to)).unwrap()
}

fn segment(number: u64, from: i64, to: i64, instants: &[i64]) -> (Segment, Arc<Entry>) {
    let rows: Vec<NewRow> = instants
        .iter()
        .rev()
        .map(|&micros| NewRow {
            row: Row {
                id: format!("{number}-{micros}").into(),
                created_at: Some(at(micros)),
                updated_at: None,
                facts: FilterFacts::default(),
                status: None,
                bytes: "{}".into(),
            },
            created_at: at(micros),
            read_at: at(0),
            is_doubted: false,
            digest: Digest(1),
        })
        .collect();
    let entry = Arc::new(Entry::new(&rows));
    let key = EntryKey { scope: [0; 16], number: number.into() };
    let contents = Contents::of(key, &entry, 0..rows.len());
    let (read_at, trust) = (at(0), Trust::Proven);
    (Segment { span: span(from, to), read_at, latest_read_at: read_at, trust, contents }, entry)
}

fn span_of(part: &CoveragePart<'_>) -> Span {
    match part {
        CoveragePart::Known(segment) => segment.span,
        CoveragePart::Gap(span) => *span,
    }
}

/// A step of a random history: a piece over a span with rows at some of its instants, or an entry evicted.
#[derive(Clone, Debug)]
enum CoverageStep {
    Replace { from: i64, width: i64, every: i64 },
    Evict(usize),
}

fn steps() -> impl Strategy<Value = Vec<CoverageStep>> {
    let replace = (0i64..60, 0i64..25, 1i64..6).prop_map(|(from, width, every)| CoverageStep::Replace {
        from,
        width,
        every,
    });
    proptest::collection::vec(
        prop_oneof![4 => replace, 1 => (0usize..20).prop_map(CoverageStep::Evict)],
        1..30,
    )
}

proptest! {
    /// Compared with a plain list that has, for every instant, the latest piece that covered it, and whether
    /// that is kept.
    #[test]
    fn looks_like_a_plain_list_of_instants(steps in steps(), from in 0i64..80, width in 0i64..40) {
        let mut coverage = Coverage::default();
        let mut kept: Vec<Option<Arc<Entry>>> = Vec::new();
        let mut plain: BTreeMap<i64, (usize, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                CoverageStep::Replace { from, width, every } => {
                    let instants: Vec<i64> = (from..=from + width).filter(|i| i % every == 0).collect();
                    let number = kept.len();
                    let (segment, entry) = segment(number as u64, from, from + width, &instants);
                    // An eviction shows only where there are rows.
                    kept.push(Some(entry));
                    for i in from..=from + width {
                        plain.insert(i, (number, instants.contains(&i)));
                    }
                    for key in coverage.replace(span(from, from + width), vec![segment]) {
                        let number = key.number as usize;
                        let is_used = plain.values().any(|&(n, has_row)| n == number && has_row);
                        prop_assert!(!is_used || kept[number].is_none());
                        kept[number] = None;
                    }
                }
                CoverageStep::Evict(which) => {
                    if let Some(entry) = kept.get_mut(which) {
                        *entry = None;
                    }
                }
            }
        }
        let asked = span(from, from + width);
        let parts = coverage.look(asked);
        let mut expected_top = asked.to();
        for part in &parts {
            prop_assert!(span_of(part).to() >= expected_top.min(span_of(part).to()));
            let within = span_of(part).intersection(asked).unwrap();
            prop_assert_eq!(within.to(), expected_top, "no hole, no overlap");
            expected_top = within.from().previous();
            for micros in within.from().as_micros()..=within.to().as_micros() {
                match (part, plain.get(&micros)) {
                    (CoveragePart::Known(segment), Some(&(number, has_row))) => {
                        prop_assert!(segment.has_bytes());
                        let Some(here) = segment.facts_within(Span::at(at(micros))) else {
                            prop_assert!(!has_row);
                            continue;
                        };
                        prop_assert_eq!(here.len(), usize::from(has_row));
                        if has_row {
                            prop_assert_eq!(here.at(0).id().to_string(), format!("{number}-{micros}"));
                        }
                    }
                    (CoveragePart::Known(_), None) => prop_assert!(false, "{micros} was never read"),
                    (CoveragePart::Gap(_), Some(&(number, _))) => prop_assert!(kept[number].is_none(), "{micros} is kept"),
                    (CoveragePart::Gap(_), None) => {}
                }
            }
        }
        prop_assert_eq!(expected_top, asked.from().previous());
    }
}

#[test]
fn releases_an_entry_that_no_segment_refers_to() {
    let mut coverage = Coverage::default();
    let (wide, _kept) = segment(1, 0, 100, &[10, 50, 90]);
    let key = wide.key().unwrap();
    assert_eq!(coverage.replace(span(0, 100), vec![wide]), []);
    let (middle, _kept_too) = segment(2, 40, 60, &[45]);
    assert_eq!(coverage.replace(span(40, 60), vec![middle]), [], "both ends still refer to it");
    assert_eq!(coverage.look(span(0, 100)).len(), 3);
    assert_eq!(coverage.replace(span(0, 39), vec![]), []);
    assert_eq!(coverage.replace(span(61, 100), vec![]), [key]);
}

#[test]
fn the_oldest_rows_without_bytes_are_dropped_first() {
    let mut coverage = Coverage::default();
    let kept: Vec<Arc<Entry>> = (0..100)
        .map(|number| {
            let from = number * 10;
            let (segment, entry) = segment(number as u64, from, from + 5, &[from + 1]);
            coverage.replace(span(from, from + 5), vec![segment]);
            entry
        })
        .collect();
    assert_eq!((coverage.bare_index_bytes(), coverage.shed(u64::MAX)), (0, 0), "all bytes are there");
    let newest = kept.into_iter().skip(50).collect::<Vec<_>>();
    let bare = coverage.bare_index_bytes();
    let freed = coverage.shed(bare / 2);
    assert!(freed >= bare / 2 && coverage.bare_index_bytes() == bare - freed);
    let known: Vec<i64> = (0..100).filter(|number| coverage.at(at(number * 10)).is_some()).collect();
    assert!((20..30).contains(&known[0]) && known == (known[0]..100).collect::<Vec<_>>());
    assert_eq!((coverage.segments.len(), coverage.uses.len()), (known.len(), known.len()));
    drop(newest);
}

#[test]
fn the_latest_of_many_segments_without_rows_stay() {
    let mut coverage = Coverage::default();
    for number in 0..10_000 {
        let from = number * 10;
        let (mut segment, _) = segment(number as u64, from, from, &[]);
        segment.read_at = at(number);
        coverage.replace(span(from, from), vec![segment]);
    }
    assert!(coverage.segments.len() <= 2 * MOST_EMPTY, "{}", coverage.segments.len());
    assert!((9_000..10_000).all(|number| coverage.at(at(number * 10)).is_some()));
}
