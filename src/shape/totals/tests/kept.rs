//! Totals of kept columns, compared with totals of the rows' bytes.

use std::sync::Arc;

use proptest::prelude::*;

use super::{agent, text};
use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Timestamp};
use crate::shape::Zone;
use crate::shape::totals::{Facts, SummaryQuestion, Totals};

const VALUES: [&str; 16] = [
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1.5",
    "1.50",
    "\"1.5\"",
    "\" 1.5\"",
    "1e17",
    "99999999.000000000001",
    "1e100000000",
    "\"busy\"",
    "\"b\\u0075sy\"",
    "{\"a\":1}",
    "\"\\ud800\"",
];

const QUESTIONS: [(&str, &str); 4] = [("a", "b"), ("@day,b,a", "a,b"), ("@hour", "c"), ("c,@month,b", "b,c")];

fn new_row(number: usize, values: &[usize; 3]) -> NewRow {
    let [a, b, c] = values.map(|value| VALUES[value % VALUES.len()]);
    let at = Timestamp::from_micros(1_790_000_000_000_000 - number as i64 * 1_234_567_891);
    // A third of the rows lack this member.
    let c = if values[2].is_multiple_of(3) { String::new() } else { format!(",\"c\":{c}") };
    let bytes = format!("{{\"id\":\"{number}\",\"a\":{a},\"b\":{b}{c}}}").into();
    let id = number.to_string().as_str().into();
    let facts = FilterFacts::default();
    let row = Row { id, created_at: Some(at), updated_at: None, status: None, facts, bytes };
    NewRow { row, created_at: at, read_at: at, is_doubted: false, digest: Digest(number as u128) }
}

/// Divides rows into entries of these sizes, repeated.
fn cut(rows: &[NewRow], sizes: &[usize]) -> Vec<Entry> {
    let (mut rest, mut entries) = (rows, Vec::new());
    for size in sizes.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*size));
        if now.is_empty() {
            break;
        }
        entries.push(Entry::new(now));
        rest = later;
    }
    entries
}

/// The totals of the rows whose position, counted over all entries, `keep` accepts.
fn folded(
    question: &SummaryQuestion,
    entries: &[Entry],
    zone: &str,
    keep: impl Fn(usize) -> bool,
    facts: impl Fn(&Entry) -> Facts,
) -> String {
    let mut totals = Totals::new(question.clone(), Zone::parse(zone).unwrap());
    let mut before = 0;
    for entry in entries {
        let rows = entry.rows().iter().enumerate().filter(|(at, _)| keep(before + at));
        let rows = rows.map(|(at, row)| (at, Some(row.created_at))).collect::<Vec<_>>();
        totals.add(agent('f'), &facts(entry), rows).unwrap();
        before += entry.rows().len();
    }
    text(&totals, None)
}

fn read(question: &SummaryQuestion, entry: &Entry) -> Facts {
    entry.read_rows(|rows| Facts::read(question, rows)).unwrap().unwrap()
}

proptest! {
    #[test]
    fn kept_columns_give_the_same_totals_as_the_bytes(
        values in prop::collection::vec(any::<[usize; 3]>(), 1..120),
        sizes in prop::collection::vec(1usize..60, 1..4),
        others in prop::collection::vec(1usize..60, 1..4),
        part in (0usize..100, 1usize..100),
    ) {
        let rows: Vec<_> = values.iter().enumerate().map(|(number, values)| new_row(number, values)).collect();
        let entries = cut(&rows, &sizes);
        let again = cut(&rows, &others);
        let keep = |at: usize| at >= part.0 && at < part.0 + part.1;
        for (group_by, stats) in QUESTIONS {
            let question = super::question(group_by, stats, Some(("b", "0,1.5")));
            for entry in &entries {
                for (id, column) in read(&question, entry).columns(&question) {
                    entry.index().keep_column(id, Arc::clone(column));
                }
            }
        }
        again.iter().for_each(|entry| entry.index().inherit_columns(entries.iter().map(|entry| &**entry.index())));
        for (group_by, stats) in QUESTIONS {
            let question = super::question(group_by, stats, Some(("b", "0,1.5")));
            for zone in ["UTC", "Asia/Kolkata"] {
                let truth = folded(&question, &entries, zone, keep, |entry| read(&question, entry));
                for entries in [&entries, &again] {
                    let bare: Vec<_> = entries
                        .iter()
                        .map(|entry| Entry::of_columns(entry.index(), question.columns()).expect("all are kept"))
                        .collect();
                    prop_assert!(bare.iter().all(|entry| !entry.has_bytes()));
                    let kept = |entry: &Entry| Facts::of_columns(&question, entry.columns(question.columns()).unwrap());
                    prop_assert_eq!(&folded(&question, &bare, zone, keep, kept), &truth);
                }
            }
        }
    }
}
