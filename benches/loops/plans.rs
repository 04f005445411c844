//! What to read for a question, given much that is known.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use fanfold::engine::Yardstick;

/// Over 10,000 segments of a page each, all of them and the newest week.
pub(crate) fn plan(criterion: &mut Criterion) {
    let known = Yardstick::new(10_000, 50);
    let mut group = criterion.benchmark_group("plan over 10,000 segments");
    for (name, length) in [("all of it", Duration::from_hours(10_000)), ("a week", Duration::from_hours(168))]
    {
        group.bench_function(name, |bencher| bencher.iter(|| known.plan(black_box(length))));
    }
}
