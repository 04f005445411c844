//! Checks the server and its OpenAPI description against each other, in both directions.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use fanfold::clock::SteadyClock;
use fanfold::domain::{
    AgentFacts, AgentId, Caller, CallerId, Credential, CredentialId, Entry, EntryIndex, Page, PageOf,
};
use fanfold::engine::{Clock, Engine, EngineSettings, MemoryBounds};
use fanfold::http::auth::Authenticator;
use fanfold::http::problem::{Code, Problem};
use fanfold::http::{
    ALL_PARAMETERS, AdminApp, App, CHANGES_PARAMETERS, HttpSettings, OPENAPI, Observer, PAGE_PARAMETERS,
    SUMMARY_PARAMETERS, admin, public,
};
use fanfold::shutdown::Shutdown;
use fanfold::source::{RelayedPage, RequestContext, Source, SourceError, Subject, Urgency};
use fanfold::store::{EntryKey, Store};
use fanfold::telemetry::{Pulse, Tracer};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tower::ServiceExt;

const AGENT: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
const METHODS: [&str; 7] = ["get", "head", "post", "put", "delete", "patch", "options"];

fn document() -> Value {
    serde_norway::from_str(OPENAPI).unwrap()
}

/// Follows a `$ref` within the document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(target) => {
            document.pointer(target.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{target}"))
        }
        None => value,
    }
}

fn words(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// The names of an operation's parameters that are somewhere.
fn parameters(document: &Value, path: &str, place: &str) -> BTreeSet<String> {
    document["paths"][path]["get"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| resolve(document, parameter))
        .filter(|parameter| parameter["in"] == place)
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// An upstream that is never asked, and a store that keeps nothing: only the HTTP interface is tested.
struct Nothing;

impl Source for Nothing {
    fn page<'a>(
        &'a self,
        _: &'a Subject,
        _: PageOf,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Page, SourceError>> {
        Box::pin(async { Err(SourceError::TimedOut) })
    }

    fn agent<'a>(
        &'a self,
        _: &'a Credential,
        _: AgentId,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<AgentFacts, SourceError>> {
        Box::pin(async { Err(SourceError::TimedOut) })
    }

    fn agents<'a>(
        &'a self,
        _: &'a Credential,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Vec<(AgentId, AgentFacts)>, SourceError>> {
        Box::pin(async { Err(SourceError::TimedOut) })
    }

    fn user<'a>(
        &'a self,
        _: &'a Credential,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async { Err(SourceError::TimedOut) })
    }

    fn relay<'a>(
        &'a self,
        _: &'a Credential,
        _: AgentId,
        _: &'a str,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<RelayedPage, SourceError>> {
        Box::pin(async { Err(SourceError::TimedOut) })
    }

    fn room_for(&self, _: CredentialId, _: Caller, _: Urgency, _: u64) -> Duration {
        Duration::ZERO
    }

    fn clock_ahead_micros(&self) -> i64 {
        0
    }
}

impl Store for Nothing {
    fn get(&self, _: &EntryKey) -> Option<Arc<Entry>> {
        None
    }

    fn put(&self, _: EntryKey, _: CallerId, _: Arc<Entry>) {}

    fn remove(&self, _: &EntryKey) {}

    fn count_index(&self, _: &EntryIndex) {}

    fn index_surplus(&self) -> u64 {
        0
    }
}

fn engine() -> Arc<Engine> {
    let settings = EngineSettings {
        fan_out: 1,
        budget_patience: Duration::ZERO,
        window: None,
        history_start: None,
        live_ttl: Duration::ZERO,
        settling_ttl: Duration::ZERO,
        settled_ttl: Duration::ZERO,
        settle_after: Duration::ZERO,
        commit_lag: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    let bounds = MemoryBounds { responses: 64 << 20, change_logs: 32 << 20, relayed_pages: 0 };
    let (source, store) = (Arc::new(Nothing), Arc::new(Nothing));
    Arc::new(Engine::new(
        settings,
        bounds,
        source,
        store,
        None,
        Clock::of(SteadyClock::from_wall()),
        Shutdown::default(),
    ))
}

/// A gateway without places: requests that pass validation get `overloaded`.
fn public_router() -> Router {
    let settings = HttpSettings {
        max_json_bytes: 1 << 20,
        request_deadline: Duration::from_secs(1),
        max_questions: 0,
        cors_origins: Vec::new(),
    };
    let observer = Observer { observe: Arc::new(|_| {}), tracer: Tracer::default() };
    public(Arc::new(App::new(
        engine(),
        Authenticator::pass_through(),
        settings,
        Shutdown::default(),
        observer,
    )))
}

fn admin_router() -> Router {
    admin(Arc::new(AdminApp {
        pulse: Pulse::default(),
        forwarded: None,
        engine: engine(),
        shutdown: Shutdown::default(),
        render_metrics: Arc::new(|_| String::new()),
    }))
}

async fn ask(router: Router, method: &str, target: &str) -> Response {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "test")
        .header("authorization", "Bearer bn-1");
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn is_routed(response: &Response) -> bool {
    !matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

#[tokio::test]
async fn every_described_operation_exists_and_no_other_method_does() {
    for (path, item) in document()["paths"].as_object().unwrap() {
        let router = if item.get("servers").is_some() { admin_router() } else { public_router() };
        let target = path.replace("{agent_id}", AGENT).replace("{agents}", AGENT);
        for method in METHODS {
            let is_described = item.get(method).is_some();
            // HEAD is implied by GET, and described where it is useful.
            let is_implied = method == "head" && item.get("get").is_some();
            let is_there = is_routed(&ask(router.clone(), method, &target).await);
            assert_eq!(is_there, is_described || is_implied, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn accepts_every_described_query_parameter_and_no_other() {
    let document = document();
    let status = async |path: &str, query: &str| {
        let target = format!("{}?{query}", path.replace("{agent_id}", AGENT).replace("{agents}", AGENT));
        ask(public_router(), "get", &target).await.status()
    };
    let all = "/agents/{agents}/executions/all";
    assert_eq!(parameters(&document, all, "query"), ALL_PARAMETERS.map(str::to_owned).into());
    for parameter in document["paths"][all]["get"]["parameters"].as_array().unwrap() {
        let parameter = resolve(&document, parameter);
        if parameter["in"] != "query" {
            continue;
        }
        let name = parameter["name"].as_str().unwrap();
        let value = match (&parameter["example"], &parameter["schema"]["enum"], &parameter["schema"]["type"])
        {
            (Value::String(example), _, _) => example.clone(),
            (Value::Number(example), _, _) => example.to_string(),
            (_, Value::Array(values), _) => values[0].as_str().unwrap().to_owned(),
            _ => "true".to_owned(),
        };
        let target = format!("{name}={value}");
        assert_eq!(status(all, &target).await, StatusCode::SERVICE_UNAVAILABLE, "{target}");
    }
    assert_eq!(status(all, "page_number=1").await, StatusCode::BAD_REQUEST);
    let summary = "/agents/{agents}/executions/summary";
    assert_eq!(parameters(&document, summary, "query"), SUMMARY_PARAMETERS.map(str::to_owned).into());

    let changes = "/agents/{agents}/executions/changes";
    assert_eq!(parameters(&document, changes, "query"), CHANGES_PARAMETERS.map(str::to_owned).into());

    let page: BTreeSet<String> = PAGE_PARAMETERS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(parameters(&document, "/v2/agent/{agent_id}/executions", "query"), page);
}

#[test]
fn both_sides_have_the_same_codes_statuses_and_titles() {
    let document = document();
    let known: BTreeSet<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(words(&document["components"]["schemas"]["Code"]["enum"]), known);

    let mut shown = BTreeSet::new();
    for response in document["components"]["responses"].as_object().unwrap().values() {
        let examples = response["content"]["application/problem+json"]["examples"].as_object().unwrap();
        for (name, example) in examples {
            let code = Code::ALL.iter().find(|code| code.as_str() == name).unwrap();
            assert_eq!(example["value"]["title"], code.title(), "{name}");
            if *code != Code::UpstreamDenied {
                assert_eq!(example["value"]["status"], code.status().as_u16(), "{name}");
            }
            shown.insert(name.clone());
        }
    }
    assert_eq!(shown, known);
}

#[test]
fn a_problem_has_the_described_members() {
    let document = document();
    let schema = &document["components"]["schemas"]["Problem"];
    for code in Code::ALL {
        let problem = serde_json::to_value(Problem::new(*code, "why").document("r-1")).unwrap();
        let members: BTreeSet<String> = problem.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, words(&schema["required"]), "{code:?}");
    }
}

#[tokio::test]
async fn every_status_is_described_with_its_headers() {
    let document = document();
    let all = "/agents/{agents}/executions/all";
    for (query, method) in [("?x=1", "get"), ("", "get"), ("", "post")] {
        let response = ask(public_router(), method, &format!("/agents/{AGENT}/executions/all{query}")).await;
        let described = &document["paths"][all]["get"]["responses"][response.status().as_str()];
        let described = resolve(&document, described);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(described["content"].get(kind).is_some(), "{} {kind}", response.status());
        assert_eq!(undescribed(response.headers(), described), BTreeSet::new(), "{}", response.status());
    }
}

/// The response's headers that its description leaves out; those of the message itself go without saying.
fn undescribed(headers: &HeaderMap, described: &Value) -> BTreeSet<String> {
    let described: BTreeSet<String> = described["headers"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| name.to_ascii_lowercase())
        .chain(["content-type", "content-length"].map(str::to_owned))
        .collect();
    headers.keys().map(|name| name.as_str().to_owned()).filter(|name| !described.contains(name)).collect()
}

#[test]
fn every_reference_resolves() {
    fn walk(document: &Value, value: &Value, seen: &mut usize) {
        match value {
            Value::Object(members) => {
                if members.contains_key("$ref") {
                    resolve(document, value);
                    *seen += 1;
                }
                members.values().for_each(|member| walk(document, member, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item, seen)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut seen = 0;
    walk(&document(), &document(), &mut seen);
    assert!(seen > 100);
}
