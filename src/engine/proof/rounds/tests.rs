use super::*;
use crate::domain::{FilterFacts, Row};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn page(ids: &[u32], has_more: bool) -> Page {
    let row = |id: &u32| Row {
        id: id.to_string().into(),
        created_at: Some(at(5)),
        updated_at: None,
        facts: FilterFacts::default(),
        status: None,
        bytes: "{}".into(),
    };
    Page { rows: ids.iter().map(row).collect(), has_more, has_flag: true, total: Some(9) }
}

fn asked_at() -> AskedAt {
    AskedAt { ours: at(9), upstream: at(9) }
}

fn rounds() -> Rounds {
    Rounds::new(Span::at(at(5)))
}

fn round(rounds: &mut Rounds, pages: &[&[u32]]) -> Belief {
    rounds.begin();
    let last = pages.len() - 1;
    pages.iter().enumerate().for_each(|(number, ids)| rounds.take(page(ids, number < last), asked_at()));
    rounds.end()
}

#[test]
fn a_round_without_repeated_rows_is_believed_at_once() {
    assert_eq!(round(&mut rounds(), &[&[1, 2, 3], &[4, 5]]), Belief::Whole);
}

#[test]
fn a_position_without_a_known_row_needs_more_rounds() {
    let mut rounds = rounds();
    for _ in 0..20 {
        assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[3, 4]]), Belief::Open, "five positions, four rows");
    }
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[3, 5]]), Belief::Open, "a new row");
    // The row that is missing this time may have left, and another one may never have been seen.
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[3, 4]]), Belief::Open);
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[4, 5]]), Belief::Whole, "a proven walk");
}

#[test]
fn rows_that_left_meanwhile_need_several_quiet_rounds() {
    let mut rounds = rounds();
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[3, 4]]), Belief::Open);
    let quiet = (0..).take_while(|_| round(&mut rounds, &[&[1, 2], &[2]]) == Belief::Open).count();
    assert!((2..30).contains(&quiet), "{quiet}");
}

#[test]
fn rows_repeated_because_the_list_grew_are_believed_after_quiet_rounds() {
    let above = |id: u32| 1_000 + id;
    let mut rounds = rounds();
    let grown = |rounds: &mut Rounds, by: u32| {
        rounds.begin();
        // Far above the region, and not counted.
        let mut head = page(&(0..by).map(above).collect::<Vec<_>>(), true);
        head.rows.iter_mut().for_each(|row| row.created_at = Some(at(60_000_000)));
        rounds.take(head, asked_at());
        rounds.take(page(&[1, 2, 3], true), asked_at());
        rounds.take(page(&[3, 4], false), asked_at());
        rounds.end()
    };
    assert!(
        (0..10).all(|_| grown(&mut rounds, 1) == Belief::Open),
        "a list that does not grow explains no repeated row"
    );
    assert_eq!(grown(&mut rounds, 2), Belief::Whole);
}

#[test]
fn a_region_without_rows_is_not_believed_to_be_empty_at_once() {
    let elsewhere = || {
        let mut page = page(&[1, 2, 3], true);
        page.rows.iter_mut().for_each(|row| row.created_at = Some(at(60_000_000)));
        page.total = None;
        page
    };
    let mut rounds = rounds();
    rounds.begin();
    rounds.take(elsewhere(), asked_at());
    // The rows of the region moved to a page that was already read.
    rounds.take(elsewhere(), asked_at());
    assert_eq!(rounds.end(), Belief::Open);
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[4, 5]]), Belief::Whole, "a proven walk");
}

#[test]
fn a_region_whose_only_row_left_is_empty_after_some_rounds() {
    let elsewhere = || {
        let mut page = page(&[11, 12, 13], true);
        page.rows.iter_mut().for_each(|row| row.created_at = Some(at(60_000_000)));
        page.total = None;
        page
    };
    let mut rounds = rounds();
    rounds.begin();
    // The row exists in one round, in which others are repeated.
    [page(&[1], true), elsewhere(), elsewhere()].into_iter().for_each(|page| rounds.take(page, asked_at()));
    assert_eq!(rounds.end(), Belief::Open);
    let open = (0..20).take_while(|_| {
        rounds.begin();
        [elsewhere(), elsewhere()].into_iter().for_each(|page| rounds.take(page, asked_at()));
        rounds.end() == Belief::Open
    });
    let open = open.count();
    assert!((3..12).contains(&open), "{open}");
}

#[test]
fn an_interrupted_round_is_not_a_proven_walk() {
    let mut rounds = rounds();
    rounds.begin();
    [page(&[1, 2, 3], true), page(&[], true)].into_iter().for_each(|page| rounds.take(page, asked_at()));
    assert_eq!(rounds.end(), Belief::Open);
    assert_eq!(round(&mut rounds, &[&[1, 2, 3], &[4, 5]]), Belief::Whole);
}

#[test]
fn a_row_masked_by_others_in_every_round_is_not_taken_for_deleted() {
    let mut rounds = rounds();
    assert_eq!(round(&mut rounds, &[&[1, 2], &[2, 4]]), Belief::Open);
    let open = (0..20).take_while(|_| round(&mut rounds, &[&[1, 2], &[2, 3]]) == Belief::Open).count();
    assert!(open < 20);
    assert_eq!(rounds.into_piece().unwrap().rows.len(), 4);
}

#[test]
fn a_round_of_one_page_shows_one_moment_however_many_rows_left() {
    let mut rounds = rounds();
    assert_eq!(round(&mut rounds, &[&[1, 2, 3, 4, 5, 6, 7], &[7, 8]]), Belief::Open);
    assert_eq!(round(&mut rounds, &[&[2]]), Belief::Whole);
    assert_eq!(rounds.into_piece().unwrap().rows.len(), 1);
}
