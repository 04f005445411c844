use std::fmt;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::traces::{RequestSpan, RequestSpanStart, Trace, Tracer};

/// Buckets in seconds, from a fast page to the longest attempts and waits for the budget.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// A label set of one label: its name and its value.
pub(super) type OneLabel = [(&'static str, &'static str); 1];

/// Watches requests to upstream: how long they wait for their turn, how long they take, and their spans. Clones share one
/// state.
#[derive(Clone)]
pub struct RequestWatch {
    tracer: Tracer,
    waits: Histogram,
    durations: Family<OneLabel, Histogram>,
}

/// A request to upstream that is being watched.
#[derive(Debug)]
pub struct WatchedRequest {
    watch: RequestWatch,
    began: Instant,
    span: RequestSpan,
}

impl RequestWatch {
    /// Creates a watch that makes spans with this tracer.
    pub fn new(tracer: Tracer) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self { tracer, waits: histogram(), durations: Family::new_with_constructor(histogram) }
    }

    /// Begins to watch a request that waited this long for its turn.
    pub fn begin(&self, start: RequestSpanStart<'_, impl fmt::Display>, waited: Duration) -> WatchedRequest {
        self.waits.observe(waited.as_secs_f64());
        WatchedRequest { watch: self.clone(), began: Instant::now(), span: self.tracer.request(start) }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let (name, help) = ("fanfold_upstream_wait", "Time that attempts waited for their turn");
        registry.register_with_unit(name, help, Unit::Seconds, self.waits.clone());
        let (name, help) =
            ("fanfold_upstream_request_duration", "One attempt, from its turn to the end of the body");
        registry.register_with_unit(name, help, Unit::Seconds, self.durations.clone());
    }
}

impl WatchedRequest {
    /// The trace context that is sent upstream.
    pub const fn trace(&self) -> &Trace {
        self.span.trace()
    }

    /// Records the status that upstream returned.
    pub fn answered(&mut self, status: u16) {
        self.span.answered(status);
    }

    /// Ends the request with this outcome.
    pub fn end(&mut self, outcome: &'static str, failed: Failed) {
        let duration = self.began.elapsed().as_secs_f64();
        self.watch.durations.get_or_create(&[("outcome", outcome)]).observe(duration);
        self.span.end(match failed {
            Failed::No => None,
            Failed::Yes => Some(outcome),
        });
    }
}

/// Whether a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It did not: it returned a body to read.
    No,
    /// It did: it returned none.
    Yes,
}

impl Default for RequestWatch {
    fn default() -> Self {
        Self::new(Tracer::default())
    }
}

impl fmt::Debug for RequestWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestWatch")
    }
}
