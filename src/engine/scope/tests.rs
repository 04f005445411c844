use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::domain::{
    AgentId, ColumnId, Credential, CredentialId, Digest, Entry, EntryIndex, FilterFacts, Filters, NumberCell,
    Row, ValueColumn,
};
use crate::engine::freshness::Membership;
use crate::engine::terms::AskedAt;
use crate::source::{RequestContext, Urgency};
use crate::store::EntryKey;
use crate::store::testing::MapStore;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn history() -> Span {
    Span::new(at(0), at(100)).unwrap()
}

fn row(created: Option<i64>, place: i64, id: &str, status: &str, read: i64) -> NewRow {
    let row = Row {
        id: id.into(),
        created_at: created.map(at),
        updated_at: None,
        facts: FilterFacts::default(),
        status: Some(Status::new(status)),
        bytes: status.to_owned().into(),
    };
    NewRow { row, created_at: at(place), read_at: at(read), is_doubted: false, digest: Digest(1) }
}

fn piece(span: Span, rows: Vec<NewRow>, asked: i64) -> Piece {
    Piece::new(span, rows, AskedAt { ours: at(asked), upstream: at(asked) })
}

/// Puts what a reading of the history brought into a scope.
fn keep(scope: &Scope, store: &dyn Store, rows: Vec<NewRow>, read: i64) {
    let context = RequestContext::for_test(Urgency::Refresh);
    let in_flight = Arc::new(Semaphore::new(1));
    let reading = Reading::new(history(), Purpose::Fill, None, Keep::Yes, false, context, None, in_flight, 1);
    let policy = Policy {
        live: Duration::from_secs(10),
        settling: Duration::from_secs(10),
        settled: Duration::from_secs(1_000),
        max_age: None,
        min_fresh: Duration::ZERO,
        settle_after: Duration::from_secs(10),
        membership: Membership::Fixed,
        stagger: Stagger::default(),
        minutes_ahead: 0,
    };
    let piece = piece(history(), rows, read);
    scope.keep(store, &piece, &reading, Duration::ZERO, &policy);
}

struct Bench {
    scope: Scope,
    store: MapStore,
}

impl Bench {
    /// A scope that knows these rows.
    fn knowing(rows: Vec<NewRow>, read: i64) -> Self {
        let credential = Credential::new(CredentialId::new([1; 16]), "key".to_owned().into());
        let subject =
            Subject { credential, agent: AgentId::new(Uuid::from_u128(7)), filters: Filters::default() };
        let owner = EntryOwner { scope: [0; 16], holder: CallerId::Key(CredentialId::new([1; 16])) };
        let bench = Self {
            scope: Scope::new(owner, Stagger::default(), subject, DateSupport::Kept),
            store: MapStore::default(),
        };
        keep(&bench.scope, &bench.store, rows, read);
        bench
    }

    /// Drops the bytes of everything that is known.
    fn evict(&self) {
        self.store.0.lock().unwrap().clear();
    }

    fn probe(&self, rows: Vec<NewRow>, asked: i64) {
        self.scope.patch(&self.store, &piece(history(), rows, asked), &Status::new("queued"));
    }

    /// Id, status and second of reading of what is known, newest first; no second for a doubted row.
    fn known(&self) -> Vec<(String, String, Option<i64>)> {
        let known = self.scope.lock();
        let segments = known.coverage.overlapping(history());
        segments.filter_map(Segment::facts).flat_map(|rows| rows.iter().map(known_row)).collect()
    }
}

fn known_row(row: EntryRow<'_>) -> (String, String, Option<i64>) {
    let status = row.status.map(|status| status.as_str().to_owned());
    let read_at = (!row.is_doubted).then_some(row.read_at);
    (row.id().to_string(), status.unwrap_or_default(), read_at.map(|at| at.as_micros() / 1_000_000))
}

fn is(id: &str, status: &str, read: Option<i64>) -> (String, String, Option<i64>) {
    (id.to_owned(), status.to_owned(), read)
}

#[test]
fn a_row_that_a_probe_does_not_bring_is_due_at_once() {
    let bench = Bench::knowing(
        vec![row(Some(50), 50, "a", "queued", 200), row(Some(40), 40, "b", "completed", 200)],
        200,
    );
    bench.probe(vec![], 210);
    assert_eq!(bench.known(), [is("a", "queued", None), is("b", "completed", Some(200))]);
}

#[test]
fn of_two_probes_the_one_that_went_later_counts_in_whatever_order_they_land() {
    let known = || vec![row(Some(50), 50, "a", "queued", 200), row(Some(40), 40, "b", "queued", 200)];
    // At 210 only the other one was in its status, at 220 only this one.
    let earlier = || vec![row(Some(40), 40, "b", "queued", 210)];
    let later = || vec![row(Some(50), 50, "a", "queued", 220)];
    let bench = Bench::knowing(known(), 200);
    bench.probe(later(), 220);
    bench.probe(earlier(), 210);
    let landed_in_turn = Bench::knowing(known(), 200);
    landed_in_turn.probe(earlier(), 210);
    landed_in_turn.probe(later(), 220);
    assert_eq!(landed_in_turn.known(), [is("a", "queued", Some(220)), is("b", "queued", None)]);
    assert_eq!(bench.known()[0], is("a", "queued", Some(220)), "seen later, and not due");
}

#[test]
fn a_row_that_was_read_after_a_probe_went_stays_as_it_is() {
    let bench = Bench::knowing(vec![row(Some(50), 50, "a", "queued", 220)], 220);
    bench.probe(vec![], 210);
    bench.probe(vec![row(Some(50), 50, "a", "queued", 210)], 210);
    assert_eq!(bench.known(), [is("a", "queued", Some(220))]);
}

#[test]
fn a_row_without_a_date_keeps_its_place_when_a_probe_brings_it() {
    let known = vec![
        row(Some(90), 90, "a", "completed", 200),
        row(None, 50, "b", "queued", 200),
        row(Some(40), 40, "c", "completed", 200),
    ];
    let bench = Bench::knowing(known, 200);
    // On the probe's page it is the first, and stands where the span ends.
    bench.probe(vec![row(None, 100, "b", "queued", 210)], 210);
    assert_eq!(bench.known()[1], is("b", "queued", Some(210)));
    let known = bench.scope.lock();
    let (entry, rows) = known.coverage.at(at(50)).and_then(Segment::rows).unwrap();
    let places: Vec<Timestamp> = entry.rows().slice(rows).iter().map(|row| row.created_at).collect();
    assert_eq!(places, [at(90), at(50), at(40)]);
}

#[test]
fn a_probe_needs_no_bytes_to_say_what_it_brought() {
    let known = || {
        let queued = |second, id| row(Some(second), second, id, "queued", 200);
        vec![queued(50, "a"), queued(40, "b"), row(None, 40, "c", "queued", 200)]
    };
    let bench = Bench::knowing(known(), 200);
    bench.evict();
    bench.probe(vec![row(Some(50), 50, "a", "queued", 210), row(None, 100, "c", "queued", 210)], 210);
    let expected = [is("a", "queued", Some(210)), is("b", "queued", None), is("c", "queued", Some(210))];
    assert_eq!(bench.known(), expected);
    let places: Vec<_> = {
        let known = bench.scope.lock();
        let segment = known.coverage.at(at(50)).unwrap();
        assert!(!segment.has_bytes());
        segment.facts().unwrap().iter().map(|row| row.created_at).collect()
    };
    assert_eq!(places, [at(50), at(40), at(40)]);
}

#[test]
fn a_row_that_a_probe_brought_later_and_whose_bytes_are_gone_is_due_at_once() {
    let bench = Bench::knowing(vec![row(Some(50), 50, "a", "queued", 200)], 200);
    bench.probe(vec![row(Some(50), 50, "a", "queued", 230)], 230);
    bench.evict();
    keep(&bench.scope, &bench.store, vec![row(Some(50), 50, "a", "ringing", 220)], 220);
    assert_eq!(bench.known(), [is("a", "ringing", None)]);
}

/// A store without bytes that wants so many bytes of indexes back.
struct FullStore(u64);

impl Store for FullStore {
    fn get(&self, _: &EntryKey) -> Option<Arc<Entry>> {
        None
    }

    fn put(&self, _: EntryKey, _: CallerId, _: Arc<Entry>) {}

    fn remove(&self, _: &EntryKey) {}

    fn count_index(&self, _: &EntryIndex) {}

    fn index_surplus(&self) -> u64 {
        self.0
    }
}

/// A scope that knows so many rows, without their bytes.
fn bare_scope(scopes: &Scopes, holder: u8, rows: i64) -> Arc<Scope> {
    let id = CredentialId::new([holder; 16]);
    let credential = Credential::new(id, "key".to_owned().into());
    let subject =
        Subject { credential, agent: AgentId::new(Uuid::from_u128(7)), filters: Filters::default() };
    let scope = scopes.of(&subject, CallerId::Key(id), &FullStore(0), DateSupport::Kept, at(300));
    let rows = (0..rows).map(|n| row(Some(100 - n), 100 - n, &n.to_string(), "completed", 200)).collect();
    keep(&scope, &FullStore(0), rows, 200);
    scope
}

#[test]
fn columns_go_before_indexes_and_those_of_the_oldest_rows_first() {
    let scopes = Scopes::default();
    let scope = bare_scope(&scopes, 1, 100);
    let id = ColumnId::new([1; 16]);
    let index =
        |second: i64| match scope.lock().coverage.at(at(second)).map(|segment| segment.contents.clone()) {
            Some(Contents::Rows { index, .. }) => Some(index),
            Some(Contents::Empty) | None => None,
        };
    let has = |second: i64| index(second).is_some_and(|index| index.has_columns(&[id]));
    for index in [10, 90].into_iter().filter_map(index) {
        let cells = vec![NumberCell::Absent; index.len()];
        index.keep_column(id, Arc::new(ValueColumn::Numbers(cells.into())));
    }
    assert!(has(10) && has(90));
    make_room(&scopes, &FullStore(1), at(300));
    assert_eq!((has(10), has(90), scope.known_rows(history())), (false, true, 100));
    let both = scope.lock().coverage.column_bytes() + 1;
    make_room(&scopes, &FullStore(both), at(300));
    assert_eq!((has(90), scope.known_rows(history())), (false, 50));
}

#[test]
fn indexes_go_from_the_caller_that_holds_most_and_its_oldest_rows_first() {
    let scopes = Scopes::default();
    let (small, large) = (bare_scope(&scopes, 1, 10), bare_scope(&scopes, 2, 100));
    let before = large.lock().coverage.bare_index_bytes();
    make_room(&scopes, &FullStore(before / 3), at(300));
    assert_eq!((small.known_rows(history()), large.known_rows(history())), (10, 50));
    assert!(large.lock().coverage.at(at(100)).is_some() && large.lock().coverage.at(at(10)).is_none());
    make_room(&scopes, &FullStore(u64::MAX), at(300));
    assert_eq!((small.known_rows(history()), large.known_rows(history())), (0, 0));
}
