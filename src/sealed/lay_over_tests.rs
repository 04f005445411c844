use proptest::prelude::*;

use std::sync::Arc;

use super::super::testing::{at, cell, entry, new_row, scope, span};
use super::*;
use crate::domain::Entry;

fn gone(from: i64, to: i64, until: i64) -> ForgottenSpan {
    ForgottenSpan { span: span(from, to), until: at(until) }
}

/// What a cell says about a second: when it was read, and when its row was read, if there is one.
fn said(cell: &Cell, second: i64) -> Option<(i64, Option<i64>)> {
    let mut found = cell.segments.iter().filter(|segment| segment.span.contains(at(second)));
    let segment = found.next()?;
    assert!(found.next().is_none(), "segments overlap");
    let row = segment.rows.as_ref().and_then(|(entry, rows)| {
        let rows = cell.entries[*entry].index.rows().slice(rows.clone());
        let row = rows.iter().find(|row| row.created_at == at(second))?;
        Some(row.read_at.as_micros() / 1_000_000)
    });
    Some((segment.read_at.as_micros() / 1_000_000, row))
}

fn empty() -> Cell {
    Cell::empty(0)
}

/// A cell from one read, with a row at every third second of the span.
fn piece(number: u128, from: i64, to: i64, read: i64) -> Cell {
    let created: Vec<_> = (from..=to).rev().filter(|second| second % 3 == 0).collect();
    cell(&scope(1), number, span(from, to), entry(&created, read).index(), read)
}

#[test]
fn the_new_cell_replaces_its_spans_and_the_rest_stays() {
    let laid = lay_over(&piece(1, 0, 30, 100), &[], Some(&piece(2, 10, 20, 200)));
    assert_eq!(said(&laid, 9), Some((100, Some(100))));
    assert_eq!(said(&laid, 12), Some((200, Some(200))));
    assert_eq!(said(&laid, 21), Some((100, Some(100))));
    assert_eq!(laid.segments.len(), 3);
    assert!(laid.segments.is_sorted_by_key(|segment| std::cmp::Reverse(segment.span.to())));
}

#[test]
fn forgotten_spans_and_entries_that_no_segment_names_are_gone() {
    let laid = lay_over(&piece(1, 0, 30, 100), &[gone(0, 14, 100), gone(16, 40, 100)], None);
    assert_eq!(laid.segments.len(), 1);
    assert_eq!((said(&laid, 15), said(&laid, 14), said(&laid, 16)), (Some((100, Some(100))), None, None));
    let laid = lay_over(&laid, &[gone(0, 40, 100)], Some(&piece(2, 3, 4, 50)));
    assert_eq!(said(&laid, 3), Some((50, Some(50))), "what is forgotten is not newer");
    assert_eq!(laid.entries.len(), 1);
}

#[test]
fn an_older_read_never_replaces_a_newer_one() {
    let laid = lay_over(&piece(1, 10, 20, 200), &[], Some(&piece(2, 0, 30, 100)));
    assert_eq!(said(&laid, 9), Some((100, Some(100))));
    assert_eq!(said(&laid, 12), Some((200, Some(200))));
}

/// A row at 12, read at `upper`, and one at 6, read at `lower`, in a span whose oldest part was read at 50 and latest at 60.
fn mixed(number: u128, upper: i64, lower: i64) -> Cell {
    let (above, below) = (new_row(12, upper), new_row(6, lower));
    let entry = Arc::new(Entry::new(&[above, below]));
    let mut cell = cell(&scope(1), number, span(0, 20), entry.index(), 50);
    cell.segments[0].latest_read_at = at(60);
    cell
}

#[test]
fn of_two_copies_of_one_read_the_one_with_a_later_probed_row_stays() {
    let probed = mixed(1, 90, 50);
    assert_eq!(said(&lay_over(&probed, &[], Some(&mixed(2, 50, 50))), 12), Some((50, Some(90))));
    // Each has a newer row, so the one that is written last is taken.
    assert_eq!(said(&lay_over(&probed, &[], Some(&mixed(2, 50, 70))), 12), Some((50, Some(50))));
}

#[test]
fn a_segment_joined_with_an_older_neighbor_stays_where_its_rows_are_newer() {
    let mut joined = mixed(1, 90, 90);
    (joined.segments[0].read_at, joined.segments[0].latest_read_at) = (at(10), at(90));
    assert_eq!(said(&lay_over(&joined, &[], Some(&mixed(2, 60, 60))), 12), Some((10, Some(90))));
}

#[test]
fn an_entry_that_both_cells_name_is_kept_once_with_the_new_index() {
    let (kept, new) = (piece(1, 0, 30, 100), piece(1, 0, 30, 200));
    let mut half = new.clone();
    half.segments[0].span = span(15, 30);
    half.segments[0].rows = Some((0, 0..6));
    let laid = lay_over(&kept, &[], Some(&half));
    assert_eq!(laid.entries.len(), 1);
    assert_eq!((said(&laid, 15), said(&laid, 12)), (Some((200, Some(200))), Some((100, Some(200)))));
}

proptest! {
    /// For any reads of one process in any order, the cell has what was read last and not forgotten since.
    #[test]
    fn is_the_same_as_a_map_from_instants(
        steps in prop::collection::vec((0i64..40, 0i64..20, any::<bool>()), 1..30),
    ) {
        let mut kept = empty();
        let mut model = std::collections::BTreeMap::new();
        for (number, (from, width, forgets)) in (1i64..).zip(&steps) {
            let (to, read) = (from + width, 1_000 + number);
            if *forgets {
                kept = lay_over(&kept, &[gone(*from, to, read)], None);
            } else {
                kept = lay_over(&kept, &[], Some(&piece(number.unsigned_abs().into(), *from, to, read)));
            }
            for second in *from..=to {
                model.insert(second, (!forgets).then_some((read, (second % 3 == 0).then_some(read))));
            }
            for second in 0..64 {
                prop_assert_eq!(said(&kept, second), model.get(&second).copied().flatten());
            }
            let named: std::collections::BTreeSet<_> =
                kept.segments.iter().filter_map(|segment| segment.rows.as_ref()).map(|(entry, _)| *entry).collect();
            prop_assert_eq!(named.len(), kept.entries.len());
        }
    }
}
