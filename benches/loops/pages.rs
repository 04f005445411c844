//! A page's body into rows.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use fanfold::simulator::SimulatorSettings;
use fanfold::upstream::parse_page;

use crate::answers::{page_of, runtime};

/// Pages of rows as upstream writes them: of long conversations, and of hardly any.
pub(crate) fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split a page of 50 rows");
    for (name, most_turns) in [("12 KB each", 56), ("3 KB each", 1)] {
        let settings = SimulatorSettings { most_turns, ..SimulatorSettings::default() };
        let body = runtime().block_on(page_of(settings));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| parse_page(black_box(&body), Some(1))));
    }
}
