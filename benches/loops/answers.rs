//! Whole answers out of what is known, without a socket: question, plan, framing, coding.

use std::ffi::OsString;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use fanfold::cli::assemble;
use fanfold::config::{self, Command};
use fanfold::shutdown::Shutdown;
use fanfold::simulator::{AgentPlan, Simulator, SimulatorSettings};
use fanfold::telemetry::Tracer;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, HOST, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// The same 2,000 rows in each form.
pub(crate) fn warm(criterion: &mut Criterion) {
    let runtime = runtime();
    let known = runtime.block_on(Known::read());
    let mut group = criterion.benchmark_group("answer 2,000 known rows");
    // Read once, so that what follows is known, and its tag before the first row.
    runtime.block_on(async { length(known.answer("", None).await).await });
    let whole = runtime.block_on(known.answer("?format=ndjson", None));
    let tag = whole.headers()[ETAG].clone();
    group.throughput(Throughput::Bytes(runtime.block_on(length(whole)) as u64));
    let gzip = Some((ACCEPT_ENCODING, HeaderValue::from_static("gzip")));
    let forms = [
        ("NDJSON", "?format=ndjson", None),
        ("JSON", "", None),
        ("NDJSON, gzip", "?format=ndjson", gzip.clone()),
        ("JSON, gzip", "", gzip),
    ];
    for (name, query, header) in forms {
        group.bench_function(name, |bencher| {
            bencher.to_async(Here(&runtime)).iter_batched(
                || header.clone(),
                |header| async { length(known.answer(query, header).await).await },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    criterion.bench_function("answer 304 to 2,000 known rows", |bencher| {
        bencher.to_async(Here(&runtime)).iter(|| known.answer("", Some((IF_NONE_MATCH, tag.clone()))));
    });
}

/// A gateway that knows all of an agent's history.
struct Known {
    public: Router,
    path: String,
    _shutdown: Shutdown,
}

impl Known {
    async fn read() -> Self {
        let plan = AgentPlan { executions: 2_000, ..AgentPlan::default() };
        let simulator = Simulator::new(SimulatorSettings {
            agents: vec![plan],
            most_turns: 1,
            ..SimulatorSettings::default()
        });
        let path = format!("/agents/{}/executions/all", simulator.agents()[0].id);
        let shutdown = Shutdown::default();
        let upstream = serve(simulator, &shutdown).await;
        let line = format!(
            "fanfold serve --upstream-url http://{upstream} --upstream-rate 0 --live-ttl 1d --settling-ttl 1d"
        );
        let settings = match config::read(line.split_whitespace().map(OsString::from), std::iter::empty()) {
            Ok(Command::Serve(settings)) => settings,
            other => unreachable!("{other:?}"),
        };
        let public =
            assemble(&settings, &Tracer::default(), &shutdown).expect("settings without files").public;
        Self { public, path, _shutdown: shutdown }
    }

    async fn answer(&self, query: &str, header: Option<(HeaderName, HeaderValue)>) -> Response<Body> {
        let mut request = Request::get(format!("{}{query}", self.path))
            .header(HOST, "bench")
            .header(AUTHORIZATION, "Bearer bn-bench")
            .body(Body::empty())
            .expect("a request");
        request.headers_mut().extend(header);
        let Ok(answer) = self.public.clone().oneshot(request).await;
        assert!(answer.status().as_u16() < 400, "{answer:?}");
        answer
    }
}

async fn serve(simulator: Simulator, shutdown: &Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = shutdown.clone();
    shutdown.spawn(async move { simulator.serve(listener, &stop).await });
    address
}

/// The bytes of a body, thrown away as they come.
async fn length(answer: Response<Body>) -> usize {
    let (mut body, mut length) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        length += frame.expect("a whole body").data_ref().map_or(0, Bytes::len);
    }
    length
}

/// The body of an agent's first page of a week.
pub(crate) async fn page_of(settings: SimulatorSettings) -> Bytes {
    let simulator =
        Simulator::new(SimulatorSettings { window: fanfold::simulator::WindowRule::Optional, ..settings });
    let path = format!("/v2/agent/{}/executions?page_size=50", simulator.agents()[0].id);
    let request = Request::get(path).header(AUTHORIZATION, "Bearer bn-bench").body(Body::empty());
    let Ok(answer) = simulator.router().oneshot(request.expect("a request")).await;
    answer.into_body().collect().await.expect("a page").to_bytes()
}

pub(crate) fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// Criterion's way to a runtime.
struct Here<'a>(&'a Runtime);

impl criterion::async_executor::AsyncExecutor for Here<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}
