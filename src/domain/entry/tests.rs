use super::*;
use uuid::Uuid;

use crate::domain::{BatchFact, FilterFacts, FilterMatch, Filters, Span, Status, Timestamp};

/// An entry of rows of some 100 bytes, in a room of this many bytes.
pub(super) fn entry(rows: usize, derived_budget: &Arc<DerivedBudget>) -> Arc<Entry> {
    let rows: Vec<NewRow> = (0..rows).map(new_row).collect();
    let entry = Arc::new(Entry::new(&rows));
    entry.live_within(derived_budget);
    entry
}

/// The index of some of the same rows.
pub(super) fn index(rows: Range<usize>) -> EntryIndex {
    EntryIndex::new(&rows.map(new_row).collect::<Vec<_>>())
}

fn new_row(number: usize) -> NewRow {
    let at = Timestamp::from_micros(-i64::try_from(number).unwrap());
    let text = format!("{{\"id\":\"row-{number}\",\"said\":\"{}\"}}", "so it was said ".repeat(5));
    let row = Row {
        id: format!("row-{number}").into(),
        created_at: Some(at),
        updated_at: None,
        facts: FilterFacts::default(),
        status: None,
        bytes: text.into(),
    };
    NewRow { row, created_at: at, read_at: at, is_doubted: false, digest: Digest(number as u128) }
}

pub(super) fn derived_budget(bytes: u64) -> Arc<DerivedBudget> {
    let derived_budget = Arc::new(DerivedBudget::default());
    derived_budget.set_most(bytes);
    derived_budget
}

#[test]
fn rows_are_the_same_in_every_form() {
    let derived_budget = derived_budget(0);
    let entry = entry(20, &derived_budget);
    let fresh = entry.plain(Separator::Line).unwrap();
    let commas = entry.plain(Separator::Comma).unwrap();
    entry.deflated().unwrap();
    assert_eq!(entry.plain(Separator::Line).unwrap(), fresh);
    assert_eq!(entry.plain(Separator::Comma).unwrap(), commas);
    entry.squeeze().unwrap();
    assert_eq!(entry.plain(Separator::Comma).unwrap(), commas);
    for (position, row) in entry.take_rows(0..20).unwrap().iter().enumerate() {
        let range = entry.byte_range(position..position + 1);
        assert_eq!(row.row.bytes, fresh[range.start..range.end - 1]);
        assert_eq!((fresh[range.end - 1], commas[range.end - 1]), (b'\n', b','));
    }
}

#[test]
fn plain_bytes_are_dropped_once_rows_are_deflated_if_there_is_no_room() {
    let derived_budget = derived_budget(0);
    let entry = entry(20, &derived_budget);
    let length = entry.byte_len() as u64;
    assert_eq!(derived_budget.stats(), DerivedStats { kept: 0, fresh: length });
    entry.deflated().unwrap();
    assert_eq!(derived_budget.stats(), DerivedStats::default());
    assert!(!entry.has_plain(Separator::Line));
    assert!(entry.weight() > length as usize / 5 && entry.deflated().unwrap().weight() < length as usize);
}

#[test]
fn plain_bytes_stay_while_there_is_room_and_leave_it_with_their_entry() {
    let derived_budget = derived_budget(1 << 20);
    let entry = entry(20, &derived_budget);
    let length = entry.byte_len() as u64;
    entry.deflated().unwrap();
    entry.plain(Separator::Comma).unwrap();
    assert!(entry.has_plain(Separator::Line) && entry.has_plain(Separator::Comma));
    assert_eq!(derived_budget.stats(), DerivedStats { kept: 2 * length, fresh: 0 });
    derived_budget.set_most(length);
    assert_eq!(derived_budget.stats().kept, length);
    drop(entry);
    assert_eq!(derived_budget.stats(), DerivedStats::default());
}

#[test]
fn a_form_that_was_used_outlives_one_that_was_not() {
    let (used, unused, new) = {
        let derived_budget = derived_budget(u64::MAX);
        let entries = [entry(20, &derived_budget), entry(20, &derived_budget), entry(20, &derived_budget)];
        for entry in &entries[..2] {
            entry.deflated().unwrap();
        }
        entries[0].plain(Separator::Line).unwrap();
        derived_budget.set_most(2 * entries[0].byte_len() as u64);
        entries[2].deflated().unwrap();
        entries[2].plain(Separator::Line).unwrap();
        entries.map(|entry| entry.has_plain(Separator::Line)).into()
    };
    assert_eq!((used, unused, new), (true, false, true));
}

#[test]
fn forms_that_are_read_in_a_cycle_and_do_not_fit_are_kept_in_part() {
    let derived_budget = derived_budget(u64::MAX);
    let entries: Vec<_> = (0..12).map(|_| entry(20, &derived_budget)).collect();
    let length = entries[0].byte_len() as u64;
    derived_budget.set_most(4 * length);
    let mut hits = 0;
    for round in 0..6 {
        for entry in &entries {
            entry.deflated().unwrap();
            if round > 1 && entry.has_plain(Separator::Line) {
                hits += 1;
            }
            entry.plain(Separator::Line).unwrap();
            assert!(derived_budget.stats().kept <= 4 * length);
        }
    }
    assert!(hits >= 12, "{hits}");
}

#[test]
fn some_rows_are_deflated_separately_once_and_stay_while_there_is_room() {
    let derived_budget = derived_budget(1 << 20);
    let entry = entry(20, &derived_budget);
    let runs = vec![3..9, 15..20];
    let lines = entry.plain(Separator::Line).unwrap();
    let piece = entry.piece(&runs).unwrap();
    let expected: Vec<u8> =
        runs.iter().flat_map(|run| lines[entry.byte_range(run.clone())].to_vec()).collect();
    assert_eq!(piece.inflate().unwrap(), expected);
    assert!(Arc::ptr_eq(&piece, &entry.piece(&runs).unwrap()));
    assert!(derived_budget.stats().kept >= piece.weight() as u64);
    derived_budget.set_most(0);
    assert_eq!((entry.has_piece(&runs), derived_budget.stats().kept), (false, 0));
    assert_eq!(entry.piece(&runs).unwrap().inflate().unwrap(), expected);
}

#[test]
fn a_few_pieces_of_an_entry_are_kept() {
    let derived_budget = derived_budget(1 << 20);
    let entry = entry(20, &derived_budget);
    let first = |rows: usize| -> Runs { std::iter::once(0..rows).collect() };
    (2..20).for_each(|rows| drop(entry.piece(&first(rows)).unwrap()));
    let kept = (2..20).filter(|&rows| entry.has_piece(&first(rows)));
    assert_eq!(kept.collect::<Vec<_>>(), [16, 17, 18, 19]);
}

#[test]
fn a_budget_forgets_replaced_forms() {
    let derived_budget = derived_budget(u64::MAX);
    let entry = entry(20, &derived_budget);
    for round in 0..1000 {
        let first = round % 19;
        entry.piece(&std::iter::once(first..first + 1).collect()).unwrap();
    }
    assert!(derived_budget.queued() < 200, "{}", derived_budget.queued());
    assert_eq!((0..19).filter(|&row| entry.has_piece(&std::iter::once(row..row + 1).collect())).count(), 4);
}

#[test]
fn blocks_with_commas_are_kept_only_in_free_room() {
    let derived_budget = derived_budget(1 << 20);
    let entry = entry(20, &derived_budget);
    let deflated = entry.deflated().unwrap();
    let blocks = |separator| entry.blocks(&deflated, separator);
    let (one, other) = (blocks(Separator::Comma), blocks(Separator::Comma));
    assert_eq!(one.as_ptr(), other.as_ptr());
    drop((one, other));
    assert_eq!(blocks(Separator::Line).as_ptr(), blocks(Separator::Line).as_ptr());
    derived_budget.set_most(0);
    let (one, other) = (blocks(Separator::Comma), blocks(Separator::Comma));
    assert_ne!(one.as_ptr(), other.as_ptr());
    assert_eq!(derived_budget.stats().kept, 0);
}

#[test]
fn blocks_are_always_those_of_the_requested_rows() {
    let derived_budget = derived_budget(1 << 20);
    let entry = entry(20, &derived_budget);
    let early = entry.deflated().unwrap();
    entry.squeeze().unwrap();
    let late = entry.deflated().unwrap();
    for deflated in [&early, &late, &early] {
        assert_eq!(entry.blocks(deflated, Separator::Comma).len(), deflated.deflated_len());
    }
}

#[test]
fn rows_are_within_a_span_that_contains_the_first_and_the_last() {
    let entry = entry(20, &derived_budget(0));
    let slice = EntrySlice::all(entry, 3..9).unwrap();
    let span = |from, to| Span::new(Timestamp::from_micros(from), Timestamp::from_micros(to)).unwrap();
    assert!(slice.is_within(span(-8, -3)) && slice.is_within(span(-20, 0)));
    assert!(!slice.is_within(span(-7, -3)) && !slice.is_within(span(-8, -4)));
}

#[test]
fn the_digest_of_all_rows_is_the_sum_of_theirs() {
    let entry = entry(20, &derived_budget(0));
    let all = EntrySlice::all(Arc::clone(&entry), 0..20).unwrap();
    let parts = [EntrySlice::all(Arc::clone(&entry), 0..7).unwrap(), EntrySlice::all(entry, 7..20).unwrap()];
    let mut sum = Digest::default();
    parts.iter().for_each(|part| sum.add(part.digest()));
    assert_eq!(all.digest(), sum);
}

#[test]
fn an_index_returns_the_facts_of_its_rows() {
    let uuid = "6f96c9b1-0000-4000-8000-012345678900";
    let said = [
        (uuid, Some("completed"), Some("twilio"), BatchFact::In("b1".into()), Some(true)),
        ("old#1767000000", None, None, BatchFact::None, Some(false)),
        ("A", Some("completed"), Some("twilio"), BatchFact::Unknown, None),
        ("b", Some("new-word"), Some("other"), BatchFact::In("b2".into()), None),
    ];
    let rows: Vec<NewRow> = said
        .iter()
        .enumerate()
        .map(|(number, (id, status, provider, batch_id, voice_mail))| {
            let mut new = new_row(number);
            new.row.id = (*id).into();
            new.row.status = status.map(Status::new);
            new.row.facts = FilterFacts {
                call_type: provider.map(|_| "inbound".into()),
                provider: provider.map(Into::into),
                batch_id: batch_id.clone(),
                answered_by_voice_mail: *voice_mail,
            };
            new
        })
        .collect();
    let entry = Entry::new(&rows);
    for (row, new) in entry.rows().iter().zip(&rows) {
        assert_eq!(
            (row.id(), row.status, row.digest),
            (new.row.id.clone(), new.row.status.as_ref(), new.digest)
        );
        assert_eq!(
            (row.created_at, row.is_dated, row.byte_len()),
            (new.created_at, true, new.row.bytes.len())
        );
    }
    let back: Vec<_> = entry.take_rows(0..4).unwrap().into_iter().map(|new| new.row.facts).collect();
    assert_eq!(back, rows.iter().map(|new| new.row.facts.clone()).collect::<Vec<_>>());
    let twilio = Filters { provider: "twilio".parse().ok(), ..Filters::default() };
    let passing = entry.rows().iter().map(|row| twilio.match_of(&row.facts()));
    let (yes, no, unknown) = (FilterMatch::Yes, FilterMatch::No, FilterMatch::Unknown);
    assert_eq!(passing.collect::<Vec<_>>(), [yes, unknown, yes, no]);
}

#[test]
fn a_row_of_an_index_takes_less_than_96_bytes_all_in() {
    let rows: Vec<NewRow> = (0..50u32)
        .map(|number| {
            let mut new = new_row(number as usize);
            new.row.id = Uuid::from_u128(u128::from(number) << 64).to_string().into();
            new.row.status = Some(Status::new(["completed", "busy", "no-answer"][number as usize % 3]));
            new.row.facts = FilterFacts {
                call_type: Some("inbound".into()),
                provider: Some(["twilio", "plivo"][number as usize % 2].into()),
                batch_id: BatchFact::In(format!("{:032x}", number / 20).into()),
                answered_by_voice_mail: Some(false),
            };
            new
        })
        .collect();
    let weight = EntryIndex::new(&rows).weight();
    assert!(weight <= 50 * 96, "{} bytes a row", weight / 50);
}

#[test]
fn words_beyond_the_number_that_an_index_holds_are_unknown() {
    let rows: Vec<NewRow> = (0..70_000)
        .map(|number| {
            let mut new = new_row(number);
            new.row.facts.batch_id = BatchFact::In(format!("{number}").into());
            new
        })
        .collect();
    let index = EntryIndex::new(&rows);
    for (number, row) in index.rows().iter().enumerate() {
        let is_known = row.facts().batch_id == BatchFact::In(number.to_string().as_str());
        assert!(is_known || (number >= 65_535 && row.facts().batch_id == BatchFact::Unknown), "{number}");
    }
}
