//! Decides which of upstream's other paths may be forwarded, from the received bytes, which are also the
//! bytes that are sent.

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version, header};

use crate::domain::AgentId;
use crate::http::params::{Params, invalid, nothing_here};
use crate::http::problem::{Code, Problem};

/// The path of upstream's pages, as named in logs and metrics.
const PAGES: &str = "/v2/agent/{agent_id}/executions";

/// Which of upstream's other paths are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// None.
    None,
    /// `GET` and `HEAD`.
    Reads,
    /// All methods.
    All,
}

/// Whose key is sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The caller's own. Upstream decides what it may do.
    PassThrough,
    /// The gateway's. Only listed paths are forwarded.
    Held,
}

/// A path of upstream, as named in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Route<'a> {
    /// The list of agents.
    Agents,
    /// One agent.
    Agent(AgentId),
    /// One execution.
    Execution(&'a str),
    /// One batch.
    Batch,
    /// A batch's executions.
    BatchExecutions,
    /// The account.
    User,
    /// A call.
    Call,
    /// Any other.
    Other,
}

/// First segments of upstream's paths before which a second slash is ignored, because clients append paths to
/// a base URL that ends with one.
const FORGIVEN: [&str; 9] =
    ["v2", "agent", "executions", "batches", "user", "me", "call", "phone-numbers", "providers"];

/// The gateway's own roots; nothing below them is upstream's.
const OWN: [&str; 5] = ["agents", "console", "status", "docs", "openapi.yaml"];

impl<'a> Route<'a> {
    /// The route of a path in its canonical spelling; any other spelling is [`Self::Other`].
    pub(in crate::http) fn of(path: &'a str) -> Self {
        let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
        let parts = [segments.next(), segments.next(), segments.next(), segments.next()];
        match parts {
            [Some("v2"), Some("agent"), Some("all"), None] => Self::Agents,
            [Some("v2"), Some("agent"), Some(id), None] if is_plain_uuid(id) => {
                id.parse().map_or(Self::Other, Self::Agent)
            }
            [Some("executions"), Some(id), None, None] if is_plain_uuid(id) => Self::Execution(id),
            [Some("batches"), Some(id), None, None] if is_plain_batch(id) => Self::Batch,
            [Some("batches"), Some(id), Some("executions"), None] if is_plain_batch(id) => {
                Self::BatchExecutions
            }
            [Some("user"), Some("me"), None, None] => Self::User,
            [Some("call"), None, None, None] => Self::Call,
            _ => Self::Other,
        }
    }

    /// The name: one of a few fixed ones.
    pub(in crate::http) const fn name(self) -> &'static str {
        match self {
            Self::Agents => "/v2/agent/all",
            Self::Agent(_) => "/v2/agent/{agent_id}",
            Self::Execution(_) => "/executions/{execution_id}",
            Self::Batch => "/batches/{batch_id}",
            Self::BatchExecutions => "/batches/{batch_id}/executions",
            Self::User => "/user/me",
            Self::Call => "/call",
            Self::Other => "other",
        }
    }
}

fn is_plain_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_plain_batch(text: &str) -> bool {
    is_plain_uuid(text) || (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The path with one leading slash where a client sent two; `None` if nothing has to change.
pub(in crate::http) fn forgiven(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str();
    let rest = target.strip_prefix("//")?;
    let first = rest.split(['/', '?']).next()?;
    if !FORGIVEN.contains(&first) {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(&target[1..]).ok()?);
    Uri::from_parts(parts).ok()
}

/// The agent in the path of upstream's pages, which is served here.
pub(super) fn page_of(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/v2/agent/")?.strip_suffix("/executions")?;
    (!id.contains('/')).then_some(id)
}

/// Whether a path is the gateway's own, so that an unknown one is 404 here.
pub(super) fn is_own(path: &str) -> bool {
    let segments: Vec<_> = path.strip_prefix('/').unwrap_or_default().splitn(5, '/').collect();
    // `/v2/agent/{agent_id}/executions` is served here, and nothing is below it.
    let is_page = matches!(*segments, ["v2", "agent", _, "executions", ..]);
    is_page || segments.first().is_some_and(|first| OWN.contains(first))
}

/// Whether callers of one key share the response.
///
/// With a held key they always do, because only the complete response shows what a token may see. [`allowed`]
/// then accepts no parameter, but `?` and `?&` have none and are still a query.
pub(super) fn is_shared(mode: Mode, route: Route<'_>, uri: &Uri) -> bool {
    let has_agents = matches!(route, Route::Agents | Route::Agent(_) | Route::Execution(_));
    has_agents && (mode == Mode::Held || uri.query().is_none())
}

/// Whether a method only reads.
pub(super) fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Refuses a request that may not be forwarded for any caller.
pub(super) fn allowed(
    forwarding: Forwarding,
    mode: Mode,
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let path = uri.path();
    if forwarding == Forwarding::None || is_own(path) {
        return Err(nothing_here());
    }
    let is_read = is_read(method);
    match (mode, forwarding) {
        (Mode::Held, _) => held(is_read, uri, headers)?,
        (Mode::PassThrough, Forwarding::All) if *method != Method::CONNECT && *method != Method::TRACE => {}
        (Mode::PassThrough, _) if is_read => {}
        (Mode::PassThrough, Forwarding::All) => {
            return Err(refused("this method is never forwarded"));
        }
        (Mode::PassThrough, _) => {
            return Err(refused("this gateway forwards only GET and HEAD (`--forward reads`)"));
        }
    }
    let is_absolute = uri.scheme().is_some() && version < Version::HTTP_2;
    if is_absolute || !path.starts_with('/') || path.starts_with("//") || path.contains('\\') {
        return Err(invalid(
            "the path can't be forwarded as it is; accepted: a path that begins with one `/`".to_owned(),
        ));
    }
    Ok(())
}

/// Never more than the listed paths, because calls can be placed with the held key.
fn held(is_read: bool, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if !is_read {
        return Err(refused("this gateway holds the key and forwards only GET and HEAD"));
    }
    if headers.contains_key(header::UPGRADE) {
        return Err(refused("this gateway holds the key and does not forward upgrades"));
    }
    match Route::of(uri.path()) {
        Route::Other | Route::Call => {
            Err(refused("this gateway holds the key and does not forward this path"))
        }
        Route::Agents
        | Route::Agent(_)
        | Route::Execution(_)
        | Route::Batch
        | Route::BatchExecutions
        | Route::User => Params::read(uri.query())?.finish(&[]),
    }
}

fn refused(why: &str) -> Problem {
    Problem::new(Code::Forbidden, why)
}

/// The name of a route that the router doesn't know.
pub(in crate::http) fn route_name(uri: &Uri) -> &'static str {
    let forgiven = forgiven(uri);
    let path = forgiven.as_ref().unwrap_or(uri).path();
    if page_of(path).is_some() { PAGES } else { Route::of(path).name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c";

    fn held_status(method: &Method, path: &str) -> u16 {
        let uri: Uri = path.parse().unwrap();
        let none = HeaderMap::new();
        let allowed = allowed(Forwarding::Reads, Mode::Held, method, &uri, Version::HTTP_11, &none);
        allowed.map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_held_key_forwards_only_listed_paths_in_their_canonical_spelling() {
        for path in [
            "/v2/agent/all",
            "/v2/agent/ID",
            "/executions/ID",
            "/batches/ID",
            "/batches/ID/executions",
            "/user/me",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(held_status(&Method::GET, &path), 200, "{path}");
            assert_eq!(held_status(&Method::HEAD, &path), 200, "{path}");
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                assert_eq!(held_status(&method, &path), 403, "{method} {path}");
            }
        }
        for path in [
            "/call",
            "/executions/../call",
            "/v2/agent/ID/%2e%2e/ID",
            "/v2/agent/ID%2f..%2fID",
            "/v2/agent/%252e%252e",
            "/v2/agent/ID/",
            "/v2/agent/ID;x=1",
            "/v2//agent/all",
            "///v2/agent/all",
            "/v2/agent/ID/..",
            "/executions/ID/log",
            "/V2/agent/all",
            "/v2/agent/%61ll",
            "/user/me/",
            "/user/me/..",
            "/phone-numbers/all",
            "/batches/ID/all",
            "/v2/agent",
            "/",
            "/executions/all",
            "/v2/agent/ID%00",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(held_status(&Method::GET, &path), 403, "{path}");
        }
        assert_eq!(held_status(&Method::GET, &format!("/v2/agent/{ID}?x=1")), 400);
    }

    #[test]
    fn a_held_key_shares_responses_with_any_query() {
        for path in ["/v2/agent/all", "/v2/agent/ID", "/executions/ID"] {
            let path = path.replace("ID", ID);
            for query in ["", "?", "?&", "?&&"] {
                let uri: Uri = format!("{path}{query}").parse().unwrap();
                let is_shared = |mode| is_shared(mode, Route::of(uri.path()), &uri);
                assert_eq!(held_status(&Method::GET, &uri.to_string()), 200, "{uri}");
                assert!(is_shared(Mode::Held), "{uri}");
                assert_eq!(is_shared(Mode::PassThrough), query.is_empty(), "{uri}");
            }
        }
    }

    #[test]
    fn a_held_key_forwards_no_upgrade() {
        let headers = [(header::UPGRADE, http::HeaderValue::from_static("websocket"))].into_iter().collect();
        let uri: Uri = "/user/me".parse().unwrap();
        let allowed = allowed(Forwarding::Reads, Mode::Held, &Method::GET, &uri, Version::HTTP_11, &headers);
        assert_eq!(allowed.unwrap_err().code, Code::Forbidden);
    }

    #[test]
    fn without_a_held_key_everything_but_own_paths_is_forwarded() {
        let status = |forwarding, method: &Method, path: &str| {
            let uri: Uri = path.parse().unwrap();
            let none = HeaderMap::new();
            let allowed = allowed(forwarding, Mode::PassThrough, method, &uri, Version::HTTP_11, &none);
            allowed.map_or_else(|problem| problem.status.as_u16(), |()| 200)
        };
        for path in
            ["/call", "/v2/agent", "/a/%2E/b%2Fc?x=%7e&y=a+b&z='|'&&=", "/agent/x", "/executions/ID/log"]
        {
            assert_eq!(status(Forwarding::All, &Method::POST, path), 200, "{path}");
            assert_eq!(status(Forwarding::Reads, &Method::GET, path), 200, "{path}");
            assert_eq!(status(Forwarding::Reads, &Method::POST, path), 403, "{path}");
            assert_eq!(status(Forwarding::None, &Method::GET, path), 404, "{path}");
        }
        for path in
            ["/agents/x", "/console/x", "/status", "/docs/x", "/openapi.yaml", "/v2/agent/x/executions/y"]
        {
            assert_eq!(status(Forwarding::All, &Method::GET, path), 404, "{path}");
        }
        for path in
            ["//127.0.0.1:9/v2/agent/all", "///v2/agent/all", "http://127.0.0.1:9/v2/agent/all", "/a\\b", "*"]
        {
            assert_eq!(status(Forwarding::All, &Method::GET, path), 400, "{path}");
        }
        assert_eq!(status(Forwarding::All, &Method::TRACE, "/x"), 403);
    }

    #[test]
    fn ignores_a_second_slash_only_before_upstreams_paths() {
        let forgiven = |path: &str| forgiven(&path.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(forgiven("//v2/agent/all?x=%7e").as_deref(), Some("/v2/agent/all?x=%7e"));
        assert_eq!(forgiven("//user/me").as_deref(), Some("/user/me"));
        for path in ["/v2/agent/all", "///v2/agent/all", "//127.0.0.1:9/v2/agent/all", "//v2@evil/x"] {
            assert_eq!(forgiven(path), None, "{path}");
        }
    }
}
