use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Status};
use crate::engine::coverage::{Contents, Coverage, Segment, Trust};
use crate::engine::freshness::{Membership, Stagger};
use crate::store::EntryKey;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const WINDOW: Duration = Duration::from_secs(7 * 86_400);
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

const ANYBODY: PlanContext<'static> =
    PlanContext { status: None, others: OtherCallers::None, probing: Probing::AllBut(&[]) };

fn policy() -> Policy {
    Policy {
        live: SECOND * 10,
        settling: SECOND * 120,
        settled: DAY,
        max_age: None,
        min_fresh: Duration::ZERO,
        settle_after: SECOND * 3 * 3_600,
        membership: Membership::Fixed,
        stagger: Stagger::default(),
        minutes_ahead: 0,
    }
}

/// A coverage of segments of `rows` rows each, an hour apart, the newest ending now; every one read at
/// `read_at`.
struct HourlySegments {
    coverage: Coverage,
    entries: Vec<Arc<Entry>>,
}

impl HourlySegments {
    fn new(segments: u32, rows: u32, read_at: Timestamp, status: impl Fn(u32) -> &'static str) -> Self {
        Self::with_doubted(segments, rows, read_at, status, |_| false)
    }

    fn with_doubted(
        segments: u32,
        rows: u32,
        read_at: Timestamp,
        status: impl Fn(u32) -> &'static str,
        is_doubted: impl Fn(u32) -> bool,
    ) -> Self {
        let (mut coverage, mut entries) = (Coverage::default(), Vec::new());
        for number in 0..segments {
            let to = NOW.minus(SECOND * 3_600 * number);
            let span = Span::new(to.minus(SECOND * 3_600).next(), to).unwrap();
            let rows: Vec<NewRow> = (0..rows)
                .map(|n| {
                    let created_at = to.minus(SECOND * 10 * n).minus(SECOND);
                    let row = Row {
                        id: format!("{number}-{n:03}").into(),
                        created_at: Some(created_at),
                        updated_at: None,
                        facts: FilterFacts::default(),
                        status: Some(Status::new(status(number * rows + n))),
                        bytes: "{}".into(),
                    };
                    let is_doubted = is_doubted(number * rows + n);
                    NewRow { row, created_at, read_at, is_doubted, digest: Digest(1) }
                })
                .collect();
            let entry = Arc::new(Entry::new(&rows));
            let contents =
                Contents::of(EntryKey { scope: [0; 16], number: number.into() }, &entry, 0..rows.len());
            let trust = Trust::Proven;
            let segment = Segment { span, read_at, latest_read_at: read_at, trust, contents };
            coverage.replace(span, vec![segment]);
            entries.push(entry);
        }
        Self { coverage, entries }
    }

    fn plan(&self, span: Span) -> Plan {
        plan(&self.coverage.look(span), span, &policy(), ANYBODY, NOW, WINDOW)
    }
}

fn reads(plan: &Plan) -> Vec<Span> {
    let read = |item: &PlanItem| match item {
        PlanItem::Read(span) => Some(*span),
        PlanItem::Known(_) => None,
    };
    plan.items.iter().filter_map(read).collect()
}

fn last(hours: u32) -> Span {
    Span::new(NOW.minus(SECOND * 3_600 * hours), NOW).unwrap()
}

#[test]
fn unknown_history_is_read_in_windows() {
    let known = HourlySegments::new(0, 0, NOW, |_| "completed");
    let plan = known.plan(last(24 * 20));
    assert_eq!(reads(&plan).len(), 3);
    assert_eq!((plan.gaps, plan.known), (Gaps::Some, None));
}

#[test]
fn known_settled_rows_are_not_read() {
    let known = HourlySegments::new(100, 40, NOW.minus(SECOND * 60), |_| "completed");
    let plan =
        known.plan(Span::new(NOW.minus(SECOND * 3_600 * 100).next(), NOW.minus(SECOND * 3_600 * 5)).unwrap());
    assert!(plan.reads_nothing() && plan.renewals.is_empty());
    assert_eq!(plan.gaps, Gaps::None);
}

#[test]
fn due_rows_near_the_head_are_read_with_it() {
    let known =
        HourlySegments::new(
            10,
            10,
            NOW.minus(SECOND * 20),
            |n| if n < 3 { "in-progress" } else { "completed" },
        );
    let later = NOW.plus(SECOND * 15);
    let span = Span::new(NOW.minus(SECOND * 3_600 * 9), later).unwrap();
    let plan = plan(&known.coverage.look(span), span, &policy(), ANYBODY, later, WINDOW);
    assert_eq!(reads(&plan).len(), 1, "{:?}", plan.items);
    assert!(matches!(plan.gaps, Gaps::Head(_)));
}

#[test]
fn scattered_rows_are_requested_by_their_status() {
    // One stuck row in every second hour of eight days.
    let stuck = |n: u32| if n.is_multiple_of(40) { "in-progress" } else { "completed" };
    let known = HourlySegments::new(190, 20, NOW.minus(SECOND * 300), stuck);
    let plan = known.plan(Span::new(NOW.minus(SECOND * 3_600 * 189), NOW.minus(SECOND * 3_600 * 4)).unwrap());
    assert_eq!(plan.probes.len(), 2, "{:?}", plan.probes);
    assert!(reads(&plan).is_empty());
}

#[test]
fn a_row_that_left_its_status_is_read_rather_than_probed() {
    let status = |n| if n == 500 { "in-progress" } else { "completed" };
    let known = HourlySegments::with_doubted(40, 20, NOW.minus(SECOND), status, |n| n == 500);
    let plan = known.plan(last(39));
    assert!(plan.probes.is_empty());
    assert_eq!(reads(&plan).len(), 1);
}

#[test]
fn evicted_rows_are_a_gap() {
    let mut known = HourlySegments::new(20, 30, NOW, |_| "completed");
    known.entries.remove(7);
    let plan = known.plan(last(19));
    assert_eq!(reads(&plan).len(), 1);
    assert_eq!(plan.gaps, Gaps::Some);
}

#[test]
fn settled_times_are_spread() {
    // As long as the stagger takes to move through the history.
    let hours = 8 * 7 * 24;
    let span = Span::new(NOW.minus(SECOND * 3_600 * (hours - 1)), NOW.minus(SECOND * 3_600 * 5)).unwrap();
    let renewed = |share| {
        let plan = HourlySegments::new(hours, 1, NOW.minus(DAY.mul_f64(share)), |_| "completed").plan(span);
        assert!(reads(&plan).is_empty());
        plan.renewals.iter().map(|span| span.width().as_secs() / 3_600).sum::<u64>()
    };
    assert_eq!(renewed(0.19), 0, "none before its time");
    // A share of 0.2 of 1.75, and the rows that fill up the pages.
    assert!((140..200).contains(&renewed(0.4)), "{}", renewed(0.4));
    assert!(renewed(1.9) > 380, "as many as one question may renew");
}

#[test]
fn a_renewal_fills_its_page_with_older_rows() {
    let known = HourlySegments::new(300, 20, NOW.minus(DAY.mul_f64(1.96)), |_| "completed");
    let span = Span::new(NOW.minus(SECOND * 3_600 * 299), NOW.minus(SECOND * 3_600 * 5)).unwrap();
    let renewals = known.plan(span).renewals;
    assert_eq!(renewals.len(), 8);
    for renewal in renewals {
        let parts = known.coverage.look(renewal);
        let rows: usize = parts
            .iter()
            .filter_map(|part| match part {
                CoveragePart::Known(segment) => segment.clipped(renewal),
                CoveragePart::Gap(_) => None,
            })
            .map(|segment| segment.len())
            .sum();
        assert_eq!(rows, 49, "{renewal:?}");
        assert!(renewal.outward().width() < renewal.width() + SECOND * 2);
    }
}

proptest! {
    #[test]
    fn a_plan_covers_the_question_once(segments in 0u32..40, rows in 0u32..60, every in 1u32..50, from in 0u32..60, hours in 0u32..50) {
        let status = move |n: u32| if n.is_multiple_of(every) { "queued" } else { "completed" };
        let known = HourlySegments::new(segments, rows, NOW.minus(SECOND * 200), status);
        let span = Span::new(NOW.minus(SECOND * 3_600 * (from + hours)), NOW.minus(SECOND * 3_600 * from)).unwrap();
        let plan = known.plan(span);
        let mut top = Some(span.to());
        for item in &plan.items {
            let (PlanItem::Known(part) | PlanItem::Read(part)) = item;
            prop_assert_eq!(Some(part.to()), top);
            prop_assert!(matches!(item, PlanItem::Known(_)) || part.outward().width() <= WINDOW);
            top = (part.from() > span.from()).then(|| part.from().previous());
        }
        prop_assert_eq!(top, None);
    }
}

#[test]
fn a_head_includes_the_rows_that_others_need_with_it() {
    // Read a minute ago and unchanged, so not due for questions without a filter.
    let known = HourlySegments::new(12, 5, NOW.minus(SECOND * 60), |_| "completed");
    let question = Span::new(NOW.minus(SECOND * 11 * 3_600), NOW.plus(SECOND)).unwrap();
    let plan_in = |others| {
        let plan = plan(
            &known.coverage.look(question),
            question,
            &policy(),
            PlanContext { others, ..ANYBODY },
            NOW,
            WINDOW,
        );
        reads(&plan)
    };
    let [alone] = plan_in(OtherCallers::None)[..] else { panic!("{:?}", plan_in(OtherCallers::None)) };
    assert_eq!(alone.from(), NOW.next());
    let [together] = plan_in(OtherCallers::ByStatus)[..] else {
        panic!("{:?}", plan_in(OtherCallers::ByStatus))
    };
    assert!(together.from() < NOW.minus(SECOND * 2 * 3_600), "{together:?}");
    assert!(together.from() >= NOW.minus(SECOND * 3 * 3_600), "{together:?}");
}

#[test]
fn a_row_that_is_read_extends_to_its_segment_if_that_is_due_for_renewal() {
    // Two rows of one segment never finished, with different statuses, so that no single probe serves both.
    let status = |row| match row {
        40 => "queued",
        42 => "in-progress",
        _ => "completed",
    };
    let question = Span::new(NOW.minus(SECOND * 11 * 3_600), NOW.minus(SECOND * 6 * 3_600)).unwrap();
    let read = |age: Duration| {
        let plan = HourlySegments::new(12, 5, NOW.minus(age), status).plan(question);
        let [read] = reads(&plan)[..] else { panic!("{plan:?}") };
        read
    };
    let segment = Span::new(NOW.minus(SECOND * 9 * 3_600).next(), NOW.minus(SECOND * 8 * 3_600)).unwrap();
    assert_eq!(read(SECOND * 600).width(), SECOND * 20);
    assert_eq!(read(DAY * 9 / 16), segment);
}

#[test]
fn rows_that_no_probe_may_request_are_read_directly() {
    let status = |n| if n % 400 == 7 { "prepared" } else { "completed" };
    let known = HourlySegments::new(48, 50, NOW.minus(SECOND * 60 * 60), status);
    let span = Span::new(NOW.minus(SECOND * 3_600 * 47), NOW).unwrap();
    let plan_for = |probing| {
        let context = PlanContext { probing, ..ANYBODY };
        plan(&known.coverage.look(span), span, &policy(), context, NOW, WINDOW)
    };
    let probed = plan_for(Probing::AllBut(&[]));
    assert_eq!(probed.probes.len(), 1);
    let refused = [Status::new("prepared")];
    for probing in [Probing::AllBut(&refused), Probing::Never] {
        let plan = plan_for(probing);
        let reads = |plan: &Plan| plan.items.iter().filter(|item| matches!(item, PlanItem::Read(_))).count();
        assert!(plan.probes.is_empty() && reads(&plan) > reads(&probed), "{plan:?}");
    }
}

/// A history of some days with some rows a day, of which pieces are known: each is the number of seconds
/// before the end at which it begins, and its width in seconds.
struct Patchwork {
    known: HourlySegments,
    rows: Vec<Timestamp>,
    span: Span,
}

impl Patchwork {
    fn new(days: u32, rows_a_day: u32, pieces: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let span = Span::new(NOW.minus(DAY * days), NOW).unwrap();
        let every = DAY / rows_a_day.max(1);
        let rows: Vec<Timestamp> =
            (0..days * rows_a_day).map(|n| NOW.minus(every * n).minus(every / 2)).collect();
        let mut known = HourlySegments::new(0, 0, NOW, |_| "completed");
        for (number, (ago, width)) in pieces.into_iter().enumerate() {
            let to = NOW.minus(SECOND * ago);
            let piece = Span::new(to.minus(SECOND * width), to).unwrap().intersection(span).unwrap();
            let inside: Vec<NewRow> =
                rows.iter().filter(|at| piece.contains(**at)).map(|at| new_row(*at)).collect();
            let contents = if inside.is_empty() {
                Contents::Empty
            } else {
                let entry = Arc::new(Entry::new(&inside));
                let key = EntryKey { scope: [0; 16], number: number as u128 };
                known.entries.push(Arc::clone(&entry));
                Contents::of(key, &entry, 0..inside.len())
            };
            let trust = Trust::Proven;
            let segment = Segment { span: piece, read_at: NOW, latest_read_at: NOW, trust, contents };
            known.coverage.replace(piece, vec![segment]);
        }
        Self { known, rows, span }
    }

    /// The requests that reading these spans takes.
    fn requests(&self, reads: &[Span]) -> usize {
        let pages = |span: &Span| {
            let rows = self.rows.iter().filter(|at| span.outward().contains(**at)).count();
            rows.div_ceil(crate::domain::MAX_PAGE_SIZE).max(1)
        };
        reads.iter().map(pages).sum()
    }

    fn planned(&self) -> usize {
        self.requests(&reads(&self.known.plan(self.span)))
    }

    fn scratch(&self) -> usize {
        self.requests(&self.span.split(WINDOW))
    }
}

fn new_row(created_at: Timestamp) -> NewRow {
    let row = Row {
        id: created_at.as_micros().to_string().into(),
        created_at: Some(created_at),
        updated_at: None,
        facts: FilterFacts::default(),
        status: Some(Status::new("completed")),
        bytes: "{}".into(),
    };
    NewRow { row, created_at, read_at: NOW, is_doubted: false, digest: Digest(1) }
}

#[test]
fn thousands_of_known_instants_do_not_cost_a_request_each() {
    let instants = (1..2_400).map(|n| (n * 1_260, 0));
    let history = Patchwork::new(35, 70, instants);
    assert_eq!((history.planned(), history.scratch()), (50, 50));
}

#[test]
fn alternating_known_days_are_reread_if_they_have_few_rows_and_skipped_if_many() {
    let every_other_day = || (0..50).map(|n| (n * 2 * 86_400 + 86_400, 86_399));
    let quiet = Patchwork::new(100, 5, every_other_day());
    assert!(quiet.planned() <= 17 && quiet.scratch() == 15, "{}", quiet.planned());
    let busy = Patchwork::new(100, 200, every_other_day());
    assert!(busy.planned() <= 205 && busy.scratch() >= 400, "{}", busy.planned());
}

#[test]
fn gaps_on_both_sides_of_a_long_empty_span_are_read_separately() {
    let history = Patchwork::new(365, 0, [(3_600, 363 * 86_400)]);
    assert_eq!(history.planned(), 2);
}

proptest! {
    #[test]
    fn a_plan_takes_hardly_more_requests_than_reading_the_whole_span(
        rows_a_day in 0u32..120,
        days in 1u32..60,
        pieces in prop::collection::vec((0u32..60 * 86_400, 0u32..100_000), 0..120),
    ) {
        let pieces = pieces.into_iter().filter(|(ago, _)| *ago < days * 86_400);
        let history = Patchwork::new(days, rows_a_day, pieces);
        let (planned, scratch) = (history.planned(), history.scratch());
        prop_assert!(planned <= 2 * scratch + 1, "{planned} requests, {scratch} from scratch");
    }
}
