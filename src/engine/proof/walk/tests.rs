use super::order::UNCONFIRMED;
use super::*;
use crate::domain::{FilterFacts, MAX_PAGE_SIZE, Row};
use crate::engine::terms::AskedAt;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// A list of `rows` rows, a second apart, the newest at `rows`.
fn list(rows: i64) -> Vec<(String, Timestamp)> {
    (1..=rows).rev().map(|n| (format!("row-{n}"), at(n))).collect()
}

fn page(list: &[(String, Timestamp)], number: usize, total: Option<u64>) -> Page {
    let rows: Vec<Row> = list
        .iter()
        .skip((number - 1) * MAX_PAGE_SIZE)
        .take(MAX_PAGE_SIZE)
        .map(|(id, at)| Row {
            id: id.as_str().into(),
            created_at: Some(*at),
            updated_at: None,
            facts: FilterFacts::default(),
            status: None,
            bytes: "{}".into(),
        })
        .collect();
    Page { rows, has_more: list.len() > number * MAX_PAGE_SIZE, has_flag: true, total }
}

fn walk(to: i64) -> Walk {
    let region = Span::new(at(0), at(to)).unwrap();
    let asked_at = AskedAt { ours: at(to), upstream: at(to) };
    let goal = WalkGoal { region, dates: DateSupport::Kept, ending: WalkEnd::AtItsEnd, asked_at };
    Walk::new(goal, Order::NewestFirst, Beliefs::default())
}

fn count(piece: Option<Piece>) -> usize {
    piece.map_or(0, |piece| piece.rows.len())
}

#[test]
fn a_single_page_is_a_complete_walk() {
    let mut walk = walk(20);
    assert!(matches!(walk.take(1, page(&list(20), 1, None)), WalkStep::Whole));
    let piece = walk.proven(Extent::Whole).unwrap();
    assert_eq!((piece.rows.len(), piece.span), (20, Span::new(at(0), at(20)).unwrap()));
}

#[test]
fn pages_are_accepted_in_order_however_they_arrive() {
    let list = list(130);
    let mut walk = walk(130);
    assert!(matches!(walk.take(3, page(&list, 3, Some(130))), WalkStep::Going));
    assert!(matches!(walk.take(1, page(&list, 1, Some(130))), WalkStep::Going));
    assert_eq!(walk.accepted(), 1);
    assert!(matches!(walk.take(2, page(&list, 2, Some(130))), WalkStep::Whole));
    assert_eq!(count(walk.proven(Extent::Whole)), 130);
}

#[test]
fn the_last_few_rows_of_a_page_wait_for_the_next() {
    let list = list(100);
    let mut walk = walk(100);
    assert!(matches!(walk.take(1, page(&list, 1, Some(100))), WalkStep::Going));
    let piece = walk.proven(Extent::Prefix).unwrap();
    assert_eq!(piece.rows.len(), MAX_PAGE_SIZE - 1 - UNCONFIRMED);
    assert_eq!(piece.span.from(), at(55).next(), "everything after the fifth row from the end");
    assert!(walk.take(2, page(&list, 2, Some(100))).is_whole());
    assert_eq!(count(walk.proven(Extent::Whole)), 100 - 45);
}

#[test]
fn a_page_of_one_instant_does_not_show_the_order() {
    let list: Vec<_> = (0..80).map(|n| (format!("row-{n}"), at(50))).collect();
    let mut walk = walk(60);
    assert!(matches!(walk.take(1, page(&list, 1, Some(80))), WalkStep::Going));
    assert!(walk.proven(Extent::Prefix).is_none());
}

#[test]
fn a_changing_total_breaks_the_proof_and_names_the_rest() {
    let list = list(130);
    let mut walk = walk(130);
    walk.take(1, page(&list, 1, Some(130)));
    let given = walk.proven(Extent::Prefix).unwrap();
    assert!(matches!(walk.take(2, page(&list, 2, Some(129))), WalkStep::Again(2)));
    let WalkStep::Broken { rest, seen } = walk.take(2, page(&list, 2, Some(129))) else { panic!() };
    assert_eq!(rest.to().next(), given.span.from());
    assert_eq!(rest.from(), at(0));
    assert!(seen.len() >= MAX_PAGE_SIZE);
}

#[test]
fn a_repeated_row_breaks_the_proof() {
    let mut list = list(130);
    let mut walk = walk(130);
    walk.take(1, page(&list, 1, None));
    // Two rows were added above, and moved two rows to the second page.
    list.insert(3, ("new".to_owned(), at(127)));
    list.insert(3, ("newer".to_owned(), at(127)));
    assert!(matches!(walk.take(2, page(&list, 2, None)), WalkStep::Broken { .. }));
}

#[test]
fn a_short_page_that_promises_more_breaks_the_proof() {
    let list = list(130);
    let mut walk = walk(130);
    walk.take(1, page(&list, 1, None));
    let mut short = page(&list, 2, None);
    short.rows.pop();
    assert!(matches!(walk.take(2, short), WalkStep::Broken { .. }));
}

#[test]
fn an_instant_on_both_sides_of_a_seam_is_requested_separately() {
    let mut list = list(130);
    // Rows 80, 81 and 82 share an instant, and the seam lies between 82 and 81.
    list.iter_mut()
        .filter(|(id, _)| ["row-82", "row-81", "row-80"].contains(&id.as_str()))
        .for_each(|r| r.1 = at(81));
    let mut walk = walk(130);
    let first = page(&list, 1, Some(130));
    let seam = first.rows.last().unwrap().created_at;
    list.swap(49, 50);
    let second = page(&list, 2, Some(130));
    walk.take(1, first.clone());
    assert_eq!(seam, Some(at(81)), "the seam lies within the tie");
    let WalkStep::Tied(instant) = walk.take(2, second) else { panic!() };
    assert!(walk.proven(Extent::Prefix).unwrap().span.from() > instant);
    assert!(
        matches!(walk.take(3, page(&list, 3, Some(130))), WalkStep::Going),
        "complete except for the tie"
    );
    let tie: Vec<NewRow> = list
        .iter()
        .filter(|(_, at)| *at == instant)
        .flat_map(|row| place(page(std::slice::from_ref(row), 1, None), None, Span::at(instant), at(130)))
        .collect();
    assert!(walk.untie(instant, tie).is_whole());
    let rest = walk.proven(Extent::Whole).unwrap();
    assert!(["row-80", "row-81", "row-82"].iter().all(|id| rest.rows.iter().any(|row| row.row.id == *id)));
}

#[test]
fn rows_outside_the_region_are_left_out() {
    let list = list(130);
    let region = Span::new(at(0), at(60)).unwrap();
    let mut walk = ignored(region, WalkEnd::AtItsEnd);
    assert!((1..=2).all(|n| matches!(walk.take(n, page(&list, n as usize, Some(130))), WalkStep::Going)));
    assert!(walk.take(3, page(&list, 3, Some(130))).is_whole());
    assert_eq!(count(walk.proven(Extent::Whole)), 60);
}

fn ignored(region: Span, ending: WalkEnd) -> Walk {
    let asked_at = AskedAt { ours: region.to(), upstream: region.to() };
    let goal = WalkGoal { region, dates: DateSupport::Ignored, ending, asked_at };
    Walk::new(goal, Order::NewestFirst, Beliefs::default())
}

/// Every row was changed this many seconds after it was created.
fn changed_after(mut page: Page, seconds: i64) -> Page {
    for row in &mut page.rows {
        row.updated_at =
            row.created_at.map(|at| Timestamp::from_micros(at.as_micros() + seconds * 1_000_000));
    }
    page
}

#[test]
fn an_ignored_date_ends_the_walk_below_the_span_once_the_order_is_known() {
    let list = list(1_000);
    let region = Span::new(at(940), at(1_000)).unwrap();
    let page = |number| changed_after(page(&list, number, Some(1_000)), 3);
    let mut walk = ignored(region, WalkEnd::BelowRegion);
    assert!(matches!(walk.take(1, page(1)), WalkStep::Going));
    assert!(walk.take(2, page(2)).is_whole(), "sixty rows were requested");
    assert_eq!(count(walk.proven(Extent::Whole)), 61);
    let mut walk = ignored(region, WalkEnd::AtItsEnd);
    assert!((1..20).all(|number| matches!(walk.take(number, page(number as usize)), WalkStep::Going)));
    assert!(walk.take(20, page(20)).is_whole());
    assert!(walk.has_shown_order());
}

#[test]
fn recently_changed_old_rows_do_not_end_a_walk() {
    let list = list(1_000);
    let region = Span::new(at(940), at(1_000)).unwrap();
    for seconds in [100, 10_000] {
        let mut walk = ignored(region, WalkEnd::BelowRegion);
        for number in 1..=2 {
            let page = changed_after(page(&list, number, Some(1_000)), seconds);
            assert!(matches!(walk.take(number as u32, page), WalkStep::Going), "{seconds}");
        }
    }
    let mut walk = ignored(region, WalkEnd::BelowRegion);
    for number in 1..=2 {
        assert!(matches!(walk.take(number as u32, page(&list, number, Some(1_000))), WalkStep::Going));
    }
}

#[test]
fn rows_repeated_because_the_list_grew_do_not_break_a_walk() {
    let mut list = list(130);
    let mut walk = walk(200);
    walk.take(1, page(&list, 1, Some(130)));
    list.insert(0, ("new".to_owned(), at(131)));
    list.insert(0, ("newer".to_owned(), at(132)));
    let WalkStep::Tied(instant) = walk.take(2, page(&list, 2, Some(132))) else { panic!() };
    assert_eq!(instant, at(81), "the instant of the seam, which a tie could explain as well");
    assert!(matches!(walk.take(3, page(&list, 3, Some(132))), WalkStep::Going));
    let row: Vec<_> = list.iter().filter(|(_, at)| *at == instant).cloned().collect();
    let apart = place(page(&row, 1, None), None, Span::at(instant), at(130));
    assert!(walk.untie(instant, apart).is_whole());
    assert_eq!(walk.claims.count, 132);
    assert_eq!(count(walk.proven(Extent::Whole)), 130);
}

#[test]
fn growth_that_differs_from_the_repeated_rows_breaks_the_walk() {
    for (place, total) in [(0, 132), (0, 130), (120, 131)] {
        let mut list = list(130);
        let mut walk = walk(200);
        walk.take(1, page(&list, 1, Some(130)));
        list.insert(place, ("new".to_owned(), at(131)));
        let step = walk.take(2, page(&list, 2, Some(total)));
        let broken = matches!(step, WalkStep::Broken { .. }) || matches!(step, WalkStep::Tied(_));
        assert!(broken, "one at {place}, and {total} in all: {step:?}");
    }
}

#[test]
fn a_page_of_an_earlier_moment_is_requested_again() {
    let old = list(130);
    let mut new = old.clone();
    new.insert(0, ("new".to_owned(), at(131)));
    let mut walk = walk(200);
    walk.take(1, page(&old, 1, Some(130)));
    walk.take(3, page(&old, 3, Some(130)));
    assert!(matches!(walk.take(2, page(&new, 2, Some(131))), WalkStep::Tied(_)), "the list grew meanwhile");
    let WalkStep::Again(number) = walk.go_on() else { panic!() };
    assert_eq!((number, walk.accepted()), (3, 2));
    assert!(matches!(walk.go_on(), WalkStep::Going));
    assert!(matches!(walk.take(3, page(&new, 3, Some(131))), WalkStep::Going), "complete except for the tie");
    assert_eq!(walk.claims.count, 131);
}

#[test]
fn a_row_above_emitted_rows_is_noticed() {
    let mut list = list(130);
    let mut walk = walk(130);
    walk.take(1, page(&list, 1, Some(130)));
    assert!(walk.proven(Extent::Prefix).is_some());
    list[70].1 = at(125);
    assert!(matches!(walk.take(2, page(&list, 2, Some(130))), WalkStep::Disordered));
}

#[test]
fn a_row_of_a_completely_emitted_region_is_noticed() {
    let mut list = list(130);
    let region = Span::new(at(100), at(130)).unwrap();
    let mut walk = ignored(region, WalkEnd::AtItsEnd);
    walk.take(1, changed_after(page(&list, 1, Some(130)), 1));
    assert_eq!(walk.proven(Extent::Prefix).unwrap().span, region);
    list[70].1 = at(125);
    assert!(matches!(walk.take(2, page(&list, 2, Some(130))), WalkStep::Disordered));
}

#[test]
fn a_list_in_another_order_is_emitted_as_a_whole() {
    let mut list = list(130);
    list.reverse();
    let mut walk = walk(130);
    for number in 1..=2 {
        assert!(matches!(walk.take(number, page(&list, number as usize, Some(130))), WalkStep::Going));
        assert!(walk.proven(Extent::Prefix).is_none());
    }
    assert!(walk.take(3, page(&list, 3, Some(130))).is_whole());
    let piece = walk.proven(Extent::Whole).unwrap();
    assert!(piece.rows.is_sorted_by_key(|row| std::cmp::Reverse(row.created_at)));
    assert_eq!(piece.rows.len(), 130);
}

#[test]
fn a_row_without_a_date_takes_the_place_of_the_row_before_it() {
    let mut first = page(&list(20), 1, None);
    (first.rows[0].created_at, first.rows[5].created_at) = (None, None);
    let mut walk = walk(30);
    assert!(walk.take(1, first).is_whole());
    let rows = walk.proven(Extent::Whole).unwrap().rows;
    let place = |id: &str| rows.iter().find(|row| row.row.id == id).unwrap().created_at;
    assert_eq!((place("row-20"), place("row-15")), (at(19), at(16)));
}

#[test]
fn rows_without_a_date_stay_behind_the_row_before_them() {
    let mut first = page(&list(20), 1, None);
    (first.rows[5].created_at, first.rows[6].created_at) = (None, None);
    let listed: Vec<_> = first.rows.iter().map(|row| row.id.clone()).collect();
    let mut walk = walk(30);
    assert!(walk.take(1, first).is_whole());
    let rows = walk.proven(Extent::Whole).unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.row.id.clone()).collect::<Vec<_>>(), listed);
}

impl WalkStep {
    fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

#[test]
fn several_pages_are_walked_only_if_totals_show_that_the_list_moved() {
    let (all, changing) = (Filters::default(), Filters { status: "busy".parse().ok(), ..Filters::default() });
    let usual = Beliefs::default();
    let (mut no_total, mut no_numbers) = (usual, usual);
    (no_total.total, no_numbers.numbers) = (false, false);
    let (one, several) = (list(20), list(130));
    let (kept, ignored) = (DateSupport::Kept, DateSupport::Ignored);
    for (list, total, dates, beliefs, filters, suits) in [
        (&one, None, kept, &usual, &all, true),
        (&one, Some(20), kept, &usual, &changing, true),
        (&one, Some(30), kept, &usual, &changing, false),
        (&one, Some(30), kept, &no_total, &changing, true),
        (&several, Some(130), kept, &usual, &all, true),
        (&several, None, kept, &usual, &all, false),
        (&several, Some(130), kept, &usual, &changing, false),
        (&several, Some(130), kept, &no_total, &all, false),
        (&several, Some(130), kept, &no_numbers, &all, false),
        (&several, Some(130), ignored, &no_numbers, &all, true),
        (&several, None, ignored, &usual, &all, false),
        (&one, None, ignored, &usual, &all, true),
    ] {
        let first = page(list, 1, total);
        assert_eq!(Walk::suits(&first, dates, beliefs, filters), suits, "{total:?} {dates:?} {beliefs:?}");
    }
    let empty = Page { rows: Vec::new(), has_more: false, has_flag: true, total: Some(30) };
    assert!(!Walk::suits(&empty, kept, &usual, &all), "missing rows are searched for in parts");
}
