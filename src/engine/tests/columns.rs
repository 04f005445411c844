//! Columns outlive the bytes that they were made from, and answer totals without a request.

use super::*;
use crate::domain::{ColumnId, NumberCell, ValueColumn};

/// The column of the rows' versions.
pub(super) const VERSIONS: ColumnId = ColumnId::new([1; 16]);

const OTHERS: ColumnId = ColumnId::new([2; 16]);

fn needing(question: Question, ids: &[ColumnId]) -> Question {
    let mode = ResponseMode::Condensed { deadline: Instant::now() + 50 * SECOND };
    Question { need: RowNeed::Columns(ids.into()), mode, ..question }
}

/// A question that needs the column of versions, as totals do.
pub(super) fn summed(question: Question) -> Question {
    needing(question, &[VERSIONS])
}

/// The versions of a slice's rows, from their column. If there is none, makes it from their bytes.
pub(super) fn versions(slice: &EntrySlice) -> Vec<u32> {
    let entry = &slice.entry;
    let column = entry.columns(&[VERSIONS]).map(|mut columns| columns.remove(0)).unwrap_or_else(|| {
        assert!(entry.has_bytes(), "an answer has the bytes or the columns");
        let all = EntrySlice::all(Arc::clone(entry), 0..entry.rows().len()).unwrap();
        let cells: Vec<_> =
            rows(&all).into_iter().map(|(_, version)| NumberCell::Number(version.into())).collect();
        let column = Arc::new(ValueColumn::Numbers(cells.into()));
        entry.index().keep_column(VERSIONS, Arc::clone(&column));
        column
    });
    let ValueColumn::Numbers(numbers) = &*column else { panic!("{column:?}") };
    let version = |row| match numbers.get(row) {
        NumberCell::Number(version) => u32::try_from(version).unwrap(),
        cell @ (NumberCell::Absent | NumberCell::Skipped) => panic!("{cell:?}"),
    };
    slice.positions().map(version).collect()
}

impl Rig {
    /// Collects an answer as totals do, and checks the values of its columns.
    async fn sum(&self, question: Question) -> usize {
        let collected = self.collect(question.clone()).await.unwrap();
        let summed: Vec<_> = collected.slices.iter().flat_map(versions).collect();
        let truth: Vec<_> = self.truth(&question).into_iter().map(|(_, version)| version).collect();
        assert_eq!(summed, truth);
        truth.len()
    }
}

/// An engine that made totals of a history of several pages, and whose store then dropped all bytes.
async fn summed_and_evicted() -> Rig {
    let rig = Rig::new(settings(), 1).with_history(600, 10);
    rig.sum(summed(rig.question())).await;
    rig.evict();
    rig.requests();
    rig
}

#[tokio::test(start_paused = true)]
async fn totals_are_made_again_without_requests_or_bytes() {
    let rig = summed_and_evicted().await;
    let ago = |hours: u32| Some(NOW.minus(hours * 3_600 * SECOND));
    let within = Question { from: ago(100), to: ago(30), ..rig.question() };
    for question in [rig.question(), within, rig.status("completed"), rig.statuses(&["completed", "failed"])]
    {
        for only_if_cached in [false, true] {
            let directives = CacheDirectives { only_if_cached, ..CacheDirectives::default() };
            let question = Question { directives, ..summed(question.clone()) };
            let answer = rig.engine.ask(question.clone()).await.unwrap();
            assert!(answer.from_cache().is_some(), "its validator is known before anything is summed");
            assert!(rig.sum(question).await > 100);
        }
    }
    assert_eq!((rig.requests(), rig.store.0.lock().unwrap().len()), (0, 0));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn filters_on_indexed_facts_need_no_bytes() {
    let rig = summed_and_evicted().await;
    let filters = Filters { answered_by_voice_mail: Some(false), ..Filters::default() };
    assert!(rig.sum(summed(Question { filters, ..rig.question() })).await > 0);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn another_column_is_read_once() {
    let rig = summed_and_evicted().await;
    let other = needing(rig.question(), &[VERSIONS, OTHERS]);
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let cached = rig.collect(Question { directives, ..other.clone() }).await;
    assert!(matches!(cached, Err(AskError::NotCached)), "{cached:?}");
    for slice in rig.collect(other.clone()).await.unwrap().slices {
        assert!(slice.entry.has_bytes());
        versions(&slice);
        let [versions] = &*slice.entry.columns(&[VERSIONS]).unwrap() else { panic!() };
        slice.entry.index().keep_column(OTHERS, Arc::clone(versions));
    }
    assert!(rig.requests() >= 12);
    rig.evict();
    rig.sum(other).await;
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_reread_for_other_requests_keep_their_columns() {
    let rig = summed_and_evicted().await;
    // All rows are read again twice, in differently divided entries, and not summed.
    rig.rows(rig.newest(0, 333)).await;
    rig.rows(rig.question()).await;
    rig.evict();
    rig.rows(Question { to: Some(NOW.minus(77 * 3_600 * SECOND)), ..rig.question() }).await;
    rig.evict();
    assert!(rig.requests() >= 12);
    assert_eq!(rig.sum(summed(rig.question())).await, 600);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_for_totals_reads_only_the_head() {
    let rig = summed_and_evicted().await;
    for _ in 0..3 {
        pass(5 * SECOND).await;
        rig.script.world().insert(rig.clock.now(), "queued");
        rig.sum(summed(rig.question())).await;
        assert_eq!(rig.requests(), 1);
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_keeps_the_columns_of_its_plan() {
    let rig = summed_and_evicted().await;
    let answer = rig.engine.ask(summed(rig.question())).await.unwrap();
    for scope in rig.engine.state.scopes.all() {
        let freed = scope.lock().coverage.shed_columns(u64::MAX);
        assert!(freed > 0 && scope.lock().coverage.column_bytes() == 0);
    }
    let summed = answer.collect(u64::MAX).await.unwrap().slices.iter().flat_map(versions).count();
    assert_eq!((summed, rig.requests()), (600, 0));
    rig.close().await;
}
