use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::*;
use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Span};
use crate::engine::reading::shared::{Keep, Purpose};
use crate::engine::reading::sink::PagesAsked;
use crate::source::{RequestContext, Urgency};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn span(from: i64, to: i64) -> Span {
    Span::new(at(from), at(to)).unwrap()
}

fn reading() -> Arc<Reading> {
    let context = RequestContext::for_test(Urgency::Refresh);
    let in_flight = Arc::new(Semaphore::new(1));
    Reading::new(span(0, 100), Purpose::Fill, None, Keep::Yes, false, context, None, in_flight, 4)
}

fn rows(seconds: &[i64]) -> Vec<EntrySlice> {
    let row = |second: &i64| NewRow {
        row: Row {
            id: second.to_string().as_str().into(),
            created_at: Some(at(*second)),
            updated_at: None,
            facts: FilterFacts::default(),
            status: None,
            bytes: "{}".into(),
        },
        created_at: at(*second),
        read_at: at(100),
        is_doubted: false,
        digest: Digest::default(),
    };
    let rows: Vec<NewRow> = seconds.iter().map(row).collect();
    EntrySlice::all(Arc::new(Entry::new(&rows)), 0..rows.len()).into_iter().collect()
}

#[tokio::test]
async fn rows_that_a_waiter_took_do_not_count_as_rows_to_come() {
    let reading = reading();
    let waiter = reading.join(at(100), ReadAhead::Whole, None);
    reading.put(span(50, 100), rows(&[90, 80, 70]));
    assert!(matches!(waiter.piece_at(at(100)).await, Ok(FoundPiece::Piece { .. })));
    waiter.wants(Some(2));
    assert!(reading.room(PagesAsked::default()).now_or_never().is_some(), "two more rows need another page");
}
