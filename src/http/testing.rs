//! An engine for tests of the HTTP layer: a short scripted history.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::domain::{
    AgentFacts, AgentId, Caller, Credential, CredentialId, FilterFacts, Page, PageOf, Rounding, Row,
    Timestamp,
};
use crate::engine::{Clock, Engine, EngineSettings, MemoryBounds};
use crate::http::auth::Authenticator;
use crate::http::{App, HttpSettings, Observer, public};
use crate::shutdown::Shutdown;
use crate::source::{
    RelayedPage, RequestContext, Source, SourceError, SourceFuture, Subject, UpstreamWords, Urgency,
};
use crate::store::testing::MapStore;
use crate::telemetry::Tracer;

/// A key that upstream refuses.
pub(super) const BAD_KEY: &str = "bn-bad";

/// The rows of every agent, newest first.
pub(super) const ROWS: [&str; 3] = [
    "{\"id\":\"c\",\"created_at\":\"2026-01-01T12:00:03\",\"status\":\"completed\"}",
    "{\"id\":\"b\",\"created_at\":\"2026-01-01T12:00:02\",\"status\":\"completed\"}",
    "{\"id\":\"a\",\"created_at\":\"2026-01-01T12:00:01\",\"status\":\"completed\"}",
];

/// One of upstream's own pages.
pub(super) const RELAYED: &str = "{\"data\" : [ ]}";

fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text, Rounding::Down).unwrap()
}

/// An engine over the script.
pub(super) fn engine(shutdown: &Shutdown) -> Arc<Engine> {
    engine_over(Arc::default(), shutdown)
}

fn engine_over(store: Arc<MapStore>, shutdown: &Shutdown) -> Arc<Engine> {
    let settings = EngineSettings {
        fan_out: 8,
        budget_patience: Duration::from_mins(3),
        window: Some(Duration::from_hours(7 * 24)),
        history_start: None,
        live_ttl: Duration::from_secs(10),
        settling_ttl: Duration::from_mins(2),
        settled_ttl: Duration::from_hours(24),
        settle_after: Duration::from_hours(3),
        commit_lag: Duration::from_secs(10),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    let bounds = MemoryBounds { responses: 64 << 20, change_logs: 32 << 20, relayed_pages: 1 << 20 };
    let clock = Clock::showing(instant("2026-01-03T00:00:00Z"));
    let source = Arc::new(ScriptedSource);
    Arc::new(Engine::new(settings, bounds, source, store, None, clock, shutdown.clone()))
}

struct ScriptedSource;

impl ScriptedSource {
    fn admit(credential: &Credential) -> Result<(), SourceError> {
        if credential.expose_key() == BAD_KEY {
            let words = UpstreamWords { status: 403, message: "Forbidden".to_owned() };
            return Err(SourceError::Denied(words));
        }
        Ok(())
    }

    fn rows() -> impl Iterator<Item = Row> {
        ROWS.iter().zip(["c", "b", "a"]).map(|(text, id)| Row {
            id: id.into(),
            created_at: Some(instant(&text[24..43])),
            updated_at: None,
            facts: FilterFacts::default(),
            status: Some("completed".parse().unwrap()),
            bytes: Bytes::from_static(text.as_bytes()),
        })
    }
}

impl Source for ScriptedSource {
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Page> {
        Box::pin(async move {
            context.sent.mark_sent();
            Self::admit(&subject.credential)?;
            let is_in =
                |row: &Row| page.number == 1 && row.created_at.is_some_and(|at| page.span.contains(at));
            Ok(Page {
                rows: Self::rows().filter(is_in).collect(),
                has_more: false,
                has_flag: true,
                total: None,
            })
        })
    }

    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        _: AgentId,
        _: &'a RequestContext,
    ) -> SourceFuture<'a, AgentFacts> {
        Box::pin(async {
            Self::admit(credential)?;
            Ok(AgentFacts { created_at: Some(instant("2026-01-01T00:00:00Z")) })
        })
    }

    fn agents<'a>(
        &'a self,
        credential: &'a Credential,
        _: &'a RequestContext,
    ) -> SourceFuture<'a, Vec<(AgentId, AgentFacts)>> {
        Box::pin(async {
            Self::admit(credential)?;
            let facts = AgentFacts { created_at: Some(instant("2026-01-01T00:00:00Z")) };
            Ok([OTHER_AGENT, AGENT].map(|agent| (agent.parse().unwrap(), facts)).into())
        })
    }

    fn user<'a>(&'a self, credential: &'a Credential, _: &'a RequestContext) -> SourceFuture<'a, ()> {
        Box::pin(async { Self::admit(credential) })
    }

    fn relay<'a>(
        &'a self,
        credential: &'a Credential,
        _: AgentId,
        _: &'a str,
        _: &'a RequestContext,
    ) -> SourceFuture<'a, RelayedPage> {
        Box::pin(async {
            Self::admit(credential)?;
            Ok(RelayedPage { body: Bytes::from_static(RELAYED.as_bytes()), page: None })
        })
    }

    fn room_for(&self, _: CredentialId, _: Caller, _: Urgency, _: u64) -> Duration {
        Duration::ZERO
    }

    fn clock_ahead_micros(&self) -> i64 {
        0
    }
}

/// The agent that [`ask`] asks about.
pub(super) const AGENT: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

/// Another agent, which comes before it in a list.
pub(super) const OTHER_AGENT: &str = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c";

/// The public router over the script.
pub(super) fn app(max_json_bytes: u64) -> axum::Router {
    app_over(Arc::default(), max_json_bytes)
}

/// The same, with a store that can be emptied.
pub(super) fn app_over(store: Arc<MapStore>, max_json_bytes: u64) -> axum::Router {
    let settings = HttpSettings {
        max_json_bytes,
        request_deadline: Duration::from_secs(50),
        max_questions: 4,
        cors_origins: Vec::new(),
    };
    let observer = Observer { observe: Arc::new(|_| {}), tracer: Tracer::default() };
    let shutdown = Shutdown::default();
    public(Arc::new(App::new(
        engine_over(store, &shutdown),
        Authenticator::pass_through(),
        settings,
        shutdown,
        observer,
    )))
}

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks with a key for a path under the agent's executions.
pub(super) async fn ask(app: &axum::Router, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/agents/{AGENT}/executions/{path}"))
        .header("host", "test")
        .header("authorization", "Bearer bn-1");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}
