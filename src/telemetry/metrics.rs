use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::answered::{Answered, Rows};
use super::exposition::{Exposition, as_text};
use super::readings::{Readings, ReadingsCollector};
use super::requests::{OneLabel, RequestWatch};
use super::vitals::{Vitals, VitalsCollector};

/// Buckets in seconds, from a response that is ready at once to the longest deadline.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// The process's metrics. Each label has a short, fixed list of values; none is an agent, a key or a path.
///
/// Responses and requests are counted when they end. Current values are read at each scrape, see [`Readings`].
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    first_rows: Family<RouteLabels, Histogram>,
    rows: Family<RouteLabels, Counter>,
    bytes: Family<RouteLabels, Counter>,
    rows_by_source: RowsBySource,
    endings: Family<OneLabel, Counter>,
    incomplete: Family<OneLabel, Counter>,
    problems: Family<OneLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    status: &'static str,
    format: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
    format: &'static str,
}

/// Counters of rows by origin. All four exist from the start, and none is looked up by its label.
struct RowsBySource {
    family: Family<OneLabel, Counter>,
    counters: [Counter; 4],
}

impl RowsBySource {
    fn add(&self, rows: Rows) {
        let Rows { hit, miss, joined, stale } = rows;
        for (counter, rows) in self.counters.iter().zip([hit, miss, joined, stale]) {
            counter.inc_by(rows);
        }
    }
}

impl Default for RowsBySource {
    fn default() -> Self {
        let family = Family::<OneLabel, Counter>::default();
        let counter = |by| family.get_or_create(&[("by", by)]).clone();
        let counters = [counter("hit"), counter("miss"), counter("joined"), counter("stale")];
        Self { family, counters }
    }
}

impl Metrics {
    /// Creates the metrics of a process that starts now. `read` returns current values, `requests` watches requests to upstream,
    /// and `vitals` describes the process.
    pub fn new(
        read: Arc<dyn Fn() -> Readings + Send + Sync>,
        requests: &RequestWatch,
        vitals: Vitals,
    ) -> Self {
        let histogram = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            first_rows: Family::new_with_constructor(histogram),
            rows: Family::default(),
            bytes: Family::default(),
            rows_by_source: RowsBySource::default(),
            endings: Family::default(),
            incomplete: Family::default(),
            problems: Family::default(),
        };
        metrics.register(read, vitals);
        requests.register(&mut metrics.registry);
        metrics
    }

    fn register(&mut self, read: Arc<dyn Fn() -> Readings + Send + Sync>, vitals: Vitals) {
        let registry = &mut self.registry;
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("fanfold_build", "The running version", version);
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started = ConstGauge::new(since_1970.as_secs_f64());
        registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, started);
        registry.register("fanfold_requests", "Finished responses", self.requests.clone());
        let (name, help) = ("fanfold_request_duration", "From the request to the last byte");
        registry.register_with_unit(name, help, Unit::Seconds, self.durations.clone());
        let (name, help) = ("fanfold_time_to_first_row", "From the request to the first row");
        registry.register_with_unit(name, help, Unit::Seconds, self.first_rows.clone());
        registry.register("fanfold_answered_rows", "Rows sent", self.rows.clone());
        let (name, help) = ("fanfold_answered", "Bytes of bodies sent, as encoded");
        registry.register_with_unit(name, help, Unit::Bytes, self.bytes.clone());
        registry.register("fanfold_rows", "Rows by origin", self.rows_by_source.family.clone());
        registry.register("fanfold_answer_endings", "Responses by how they ended", self.endings.clone());
        let help = "Responses that lack rows: broken off, or lenient with a part left out";
        registry.register("fanfold_incomplete_answers", help, self.incomplete.clone());
        registry.register("fanfold_problems", "Problems by code", self.problems.clone());
        registry.register_collector(Box::new(ReadingsCollector { read }));
        registry.register_collector(Box::new(VitalsCollector(vitals)));
    }

    /// Counts a finished response.
    pub fn answered(&self, answer: &Answered) {
        let Answered { route, format, .. } = answer;
        let status = status_class(answer.status);
        self.requests.get_or_create(&RequestLabels { route: Arc::clone(route), status, format }).inc();
        let labels = RouteLabels { route: Arc::clone(route), format };
        self.durations.get_or_create(&labels).observe(answer.duration.as_secs_f64());
        if let Some(first_row) = answer.first_row {
            self.first_rows.get_or_create(&labels).observe(first_row.as_secs_f64());
        }
        self.rows.get_or_create(&labels).inc_by(answer.rows);
        self.bytes.get_or_create(&labels).inc_by(answer.bytes);
        self.rows_by_source.add(answer.rows_by);
        self.endings.get_or_create(&[("ending", answer.ending.as_str())]).inc();
        if let Some(why) = answer.incomplete() {
            self.incomplete.get_or_create(&[("why", why)]).inc();
        }
        if let Some(code) = answer.code {
            self.problems.get_or_create(&[("code", code)]).inc();
        }
    }

    /// Renders all metrics in the requested format.
    pub fn render(&self, exposition: Exposition) -> String {
        let mut text = String::new();
        match (prometheus_client::encoding::text::encode(&mut text, &self.registry), exposition) {
            (Ok(()), Exposition::OpenMetrics) => text,
            (Ok(()), Exposition::Text) => as_text(&text),
            // A partial text would be mistaken for a complete one.
            (Err(error), exposition) => {
                tracing::error!(target: "fanfold::process", %error, "The metrics can't be rendered: {error}.");
                match exposition {
                    Exposition::OpenMetrics => "# EOF\n".to_owned(),
                    Exposition::Text => String::new(),
                }
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{BodyEnding, CacheReadings, GateReadings, UpstreamReadings};

    fn metrics(readings: Readings) -> Metrics {
        Metrics::new(Arc::new(move || readings.clone()), &RequestWatch::default(), Vitals::default())
    }

    fn answered() -> Answered {
        Answered {
            route: "/agents/{agents}/executions/all".into(),
            status: 206,
            format: "json",
            duration: Duration::from_millis(20),
            first_row: Some(Duration::from_millis(3)),
            rows: 7,
            bytes: 900,
            rows_by: Rows { hit: 5, miss: 2, joined: 0, stale: 0 },
            upstream_requests: 1,
            missing_parts: 1,
            ending: BodyEnding::Whole,
            code: Some("not_ready"),
        }
    }

    #[test]
    fn counts_responses_by_route_class_and_format() {
        let metrics = metrics(Readings::default());
        metrics.answered(&answered());
        metrics.answered(&answered());
        let text = metrics.render(Exposition::OpenMetrics);
        let route = "route=\"/agents/{agents}/executions/all\"";
        for line in [
            format!("fanfold_requests_total{{{route},status=\"2xx\",format=\"json\"}} 2\n"),
            format!("fanfold_answered_rows_total{{{route},format=\"json\"}} 14\n"),
            format!("fanfold_answered_bytes_total{{{route},format=\"json\"}} 1800\n"),
            format!("fanfold_request_duration_seconds_count{{{route},format=\"json\"}} 2\n"),
            "fanfold_rows_total{by=\"hit\"} 10\n".to_owned(),
            "fanfold_problems_total{code=\"not_ready\"} 2\n".to_owned(),
            "fanfold_incomplete_answers_total{why=\"lenient\"} 2\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn reads_current_values_at_every_scrape() {
        let text = metrics(Readings {
            questions: 3,
            cache: CacheReadings { bytes: 4096, evictions: 9, ..CacheReadings::default() },
            upstream: UpstreamReadings {
                gate: GateReadings { budget_left: Some(17), ..GateReadings::default() },
                requests: vec![("ok", 5), ("timeout", 1)],
                ..UpstreamReadings::default()
            },
            ..Readings::default()
        })
        .render(Exposition::OpenMetrics);
        for line in [
            "fanfold_questions 3\n",
            "fanfold_cache_bytes 4096\n",
            "fanfold_cache_evictions_total 9\n",
            "fanfold_budget_left 17\n",
            "fanfold_upstream_requests_total{outcome=\"timeout\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn ends_as_the_format_requires_and_names_each_metric_once() {
        let text = metrics(Readings::default()).render(Exposition::OpenMetrics);
        assert!(text.ends_with("# EOF\n"));
        let mut names: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(text.contains("fanfold_build_info{version="));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reports_memory_and_open_files() {
        let text = metrics(Readings::default()).render(Exposition::OpenMetrics);
        assert!(
            text.contains("process_resident_memory_bytes ") && text.contains("process_cpu_seconds_total ")
        );
        assert!(text.contains("process_start_time_seconds "));
        assert!(
            text.contains("fanfold_log_lines_dropped_total 0\n")
                && text.contains("fanfold_engine_stalled 0\n")
        );
    }
}
