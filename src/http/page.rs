//! `GET /v2/agent/{agent_id}/executions`: upstream's own path, for programs written for upstream.
//!
//! With `from` or `to` the query goes upstream as it came, and the page comes back byte for byte. Without either, which upstream's guide
//! allows and its reference refuses, the page is cut from the whole history. Then a parameter that no upstream call will
//! see is refused by name rather than left out of account: it may be a filter.
//!
//! Where the gateway holds the key, upstream sees only the parameters that it documents, written by the gateway: a token's reach ends at
//! its agents, and a parameter that upstream honors without documenting it could name another.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use sha2::Digest as _;
use tokio::time::Instant;

use super::App;
use super::all::write_whole;
use super::authorized::{AgentSegment, AuthorizedRequest};
use super::body::{WholeBody, page_envelope};
use super::negotiate::Codings;
use super::params::{Params, invalid};
use super::places::ResponsePlace;
use super::prefer::{Prefer, directives};
use super::present::{self, Etag, Storable};
use super::problem::{ErrorStyle, KeyOwner, Problem};
use super::question::{Format, filters};
use crate::domain::{Digest, EntrySlice, Filters, MAX_PAGE_SIZE, Rounding, Timestamp};
use crate::engine::{CacheReport, Freshness, Question, RelayQuestion, ResponseMode, Tolerance};

/// What the path takes without dates. With them it takes whatever upstream does.
pub const PAGE_PARAMETERS: [&str; 7] =
    ["page_number", "page_size", "status", "call_type", "provider", "answered_by_voice_mail", "batch_id"];

/// What goes upstream where the gateway holds the key.
const HELD_PARAMETERS: [&str; 9] = [
    "page_number",
    "page_size",
    "status",
    "call_type",
    "provider",
    "answered_by_voice_mail",
    "batch_id",
    "from",
    "to",
];

/// The longest value of a parameter that goes upstream where the gateway holds the key; a date with an offset has some 32 characters.
const LONGEST_VALUE: usize = 64;

/// The filters on what changes while an execution exists.
const CHANGING: [&str; 2] = ["status", "answered_by_voice_mail"];

/// The handler.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    agent: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    // As for all rows, see there.
    Box::pin(answer(app, agent, parts)).await
}

async fn answer(app: Arc<App>, agent: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedRequest::begin(&app, &agent, &parts, ErrorStyle::Upstreams).await?;
    authorized.request_log.note_format(Format::Json);
    let codings = Codings::choose(&parts.headers)?;
    let params = Params::read(parts.uri.query())?;
    let place = app.take_place(&authorized)?;
    let page = if params.has("from") || params.has("to") {
        relayed(&app, &authorized, &parts, &params).await?
    } else {
        let cut = Cut::parse(params)?;
        cut.take(&app, &authorized, &parts).await?
    };
    page.present(&app, &authorized, &parts, codings, place).await
}

/// A page that is there.
struct ReadyPage {
    whole: WholeBody,
    rows: u64,
    etag: Etag,
    freshness: Freshness,
    report: CacheReport,
}

impl ReadyPage {
    async fn present(
        self,
        app: &App,
        authorized: &AuthorizedRequest,
        parts: &Parts,
        codings: Codings,
        place: ResponsePlace,
    ) -> Result<Response, Problem> {
        authorized.request_log.note_report(self.report);
        let mut response = Response::new(Body::empty());
        let kept = Storable::under(&directives(&parts.headers));
        present::page_headers(response.headers_mut(), self.freshness, &self.report, kept, &self.etag);
        if self.etag.is_known_to(&parts.headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        if parts.method != Method::HEAD {
            authorized.request_log.add_rows(self.rows);
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        write_whole(
            &app.compression_pool,
            self.whole,
            codings,
            (authorized.renderer, &parts.method),
            place,
            response,
        )
        .await
    }
}

async fn relayed(
    app: &App,
    authorized: &AuthorizedRequest,
    parts: &Parts,
    params: &Params,
) -> Result<ReadyPage, Problem> {
    let canonical_query = params.canonical();
    let query = match authorized.renderer.key {
        KeyOwner::Callers => parts.uri.query().unwrap_or_default().to_owned(),
        KeyOwner::Held => {
            documented(params)?;
            // What was checked is what is sent, not what else the same bytes may be read as.
            canonical_query.clone()
        }
    };
    let question = RelayQuestion {
        caller: authorized.caller,
        credential: authorized.credential.clone(),
        agent: authorized.agent,
        query,
        canonical_query,
        to: params.only("to").and_then(|text| Timestamp::parse(text, Rounding::Up)),
        has_changing_filter: CHANGING.iter().any(|name| params.has(name)),
        directives: directives(&parts.headers),
        deadline: deadline(app, parts),
        trace: authorized.request_log.trace.clone(),
    };
    let relayed = app
        .unless_ended(Box::pin(app.engine.relay(question)))
        .await
        .map_err(|e| authorized.renderer.problem(&e))?;
    let sha256 = sha2::Sha256::digest(&relayed.body);
    let digest = sha256[..16].iter().fold(0, |sum: u128, &byte| sum << 8 | u128::from(byte));
    Ok(ReadyPage {
        etag: Etag::of(Digest(digest), relayed.body.len() as u64),
        // Not looked into: its rows are upstream's business.
        rows: 0,
        whole: WholeBody::verbatim(relayed.body),
        freshness: relayed.freshness,
        report: relayed.report,
    })
}

/// Makes sure that a query has only parameters that upstream documents, each once, and with values in which nobody finds another
/// parameter, however often they decode them. Whether a value means anything is for upstream to say.
fn documented(params: &Params) -> Result<(), Problem> {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b' ');
    params.allow_only(&HELD_PARAMETERS)?;
    for name in HELD_PARAMETERS {
        if let Some(value) = params.single(name)?
            && !(value.len() <= LONGEST_VALUE && value.bytes().all(is_plain))
        {
            return Err(invalid(format!(
                "`{name}` is not valid; accepted are up to {LONGEST_VALUE} letters, digits, `-`, `_`, `.`, `:`, `+` and spaces"
            )));
        }
    }
    Ok(())
}

fn deadline(app: &App, parts: &Parts) -> Instant {
    Instant::now() + Prefer::read(&parts.headers).wait_within(app.settings.request_deadline)
}

/// A page to be cut from the whole history.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    number: u64,
    size: u64,
    filters: Filters,
}

impl Cut {
    fn parse(mut params: Params) -> Result<Self, Problem> {
        const DEFAULT_SIZE: u64 = 20;
        let at_least_one = |text: &str| text.parse().ok().filter(|&number: &u64| number > 0);
        let number = params.parse("page_number", "an integer from 1", at_least_one)?;
        let size = params.parse("page_size", "an integer from 1; more than 50 is 50", at_least_one)?;
        let filters = filters(&mut params)?;
        params.finish(&PAGE_PARAMETERS)?;
        let size = size.unwrap_or(DEFAULT_SIZE).min(MAX_PAGE_SIZE as u64);
        Ok(Self { number: number.unwrap_or(1), size, filters })
    }

    async fn take(
        self,
        app: &App,
        authorized: &AuthorizedRequest,
        parts: &Parts,
    ) -> Result<ReadyPage, Problem> {
        let question = Question {
            caller: authorized.caller,
            credential: authorized.credential.clone(),
            agent: authorized.agent,
            filters: self.filters,
            any_status: None,
            from: None,
            to: None,
            directives: directives(&parts.headers),
            tolerance: Tolerance::Strict,
            mode: ResponseMode::Collected { deadline: deadline(app, parts) },
            trace: authorized.request_log.trace.clone(),
        };
        let problem = |e| authorized.renderer.problem(&e);
        let answer = app.unless_ended(Box::pin(app.engine.ask(question))).await.map_err(problem)?;
        let most = app.settings.max_json_bytes;
        let history = app.unless_ended(Box::pin(answer.collect(most))).await.map_err(problem)?;
        let slices = cut(&history.slices, (self.number - 1).saturating_mul(self.size), self.size);
        let mut digest = Digest::default();
        slices.iter().for_each(|slice| digest.add(slice.digest()));
        let total = history.verdict.count;
        Ok(ReadyPage {
            // The total is in the envelope, so it belongs to what the validator tells apart.
            etag: Etag::of(digest, total),
            rows: slices.iter().map(|slice| slice.len() as u64).sum(),
            whole: WholeBody::new(
                page_envelope(self.number, self.size, total),
                slices,
                Bytes::new(),
                history.held,
            ),
            freshness: history.verdict.freshness,
            report: history.verdict.report,
        })
    }
}

/// The rows from `skip` on, at most `take` of them.
fn cut(slices: &[EntrySlice], skip: u64, take: u64) -> Vec<EntrySlice> {
    let wanted = skip..skip.saturating_add(take);
    let mut at = 0;
    let mut out = Vec::new();
    for slice in slices {
        let length = slice.len() as u64;
        if at < wanted.end && at + length > wanted.start {
            let entry = Arc::clone(&slice.entry);
            let within = 0..slice.entry.rows().len();
            let kept: Vec<usize> = slice
                .positions()
                .zip(at..)
                .filter_map(|(position, index)| wanted.contains(&index).then_some(position))
                .collect();
            let mut kept = kept.into_iter().peekable();
            let mut position = 0;
            out.extend(EntrySlice::select(entry, within, |_| {
                let is_kept = kept.next_if_eq(&position).is_some();
                position += 1;
                is_kept
            }));
        }
        at += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::whole_slice;

    fn parse(query: &str) -> Result<Cut, String> {
        Cut::parse(Params::read(Some(query)).unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn pages_are_counted_and_sized_as_upstream_does() {
        let cut = |number, size| Cut { number, size, filters: Filters::default() };
        assert_eq!(parse("").unwrap(), cut(1, 20));
        assert_eq!(parse("page_number=3&page_size=50").unwrap(), cut(3, 50));
        assert_eq!(parse("page_size=1000").unwrap(), cut(1, 50));
    }

    #[test]
    fn what_can_not_be_cut_by_is_refused_by_name() {
        for (query, name) in [
            ("page_number=0", "`page_number`"),
            ("page_number=-1", "`page_number`"),
            ("page_size=0", "`page_size`"),
            ("page_size=x", "`page_size`"),
            ("sort=asc", "`sort`"),
        ] {
            assert!(parse(query).unwrap_err().contains(name), "{query}");
        }
    }

    fn held(query: &str) -> Result<String, String> {
        let params = Params::read(Some(query)).map_err(|problem| problem.detail)?;
        documented(&params).map(|()| params.canonical()).map_err(|problem| problem.detail)
    }

    #[test]
    fn with_a_held_key_upstream_sees_documented_parameters_only() {
        for (query, name) in [
            ("from=2026-01-01T00:00:00Z&agent_id=b", "`agent_id`"),
            ("from=2026-01-01T00:00:00Z&%61gent_id=b", "`agent_id`"),
            ("from=a&agent%5Fid=b", "`agent_id`"),
            ("from=a&Agent_Id=b", "`Agent_Id`"),
            ("from=a&FROM=b", "`FROM`"),
            ("from=a&agent_id[]=b", "`agent_id[]`"),
            ("from=a&status[]=busy", "`status[]`"),
            ("from=a&status%5B%5D=busy", "`status[]`"),
            ("from=a&agent_id", "`agent_id`"),
            ("from=a&=b", "``"),
            ("from=a&;agent_id=b", "`;agent_id`"),
            ("from=a;agent_id=b", "`from`"),
            ("from=a%3Bagent_id=b", "`from`"),
            ("from=a%26agent_id%3Db", "`from`"),
            ("from=a%2526agent_id%253Db", "`from`"),
            ("from=a%23agent_id", "`from`"),
            ("from=a%00&to=b", "`from`"),
            ("from=a%0d%0aagent_id", "`from`"),
            ("from=%C2%B2026&to=b", "`from`"),
            ("from=a&page_number=1&page_number=2", "`page_number`"),
            ("from=a&from=b", "`from`"),
            ("from=a&%66rom=b", "`from`"),
            ("from=a&batch_id=", ""),
        ] {
            match held(query) {
                Err(detail) => {
                    assert!(detail.contains(name) && detail.contains("accepted"), "{query}: {detail}");
                }
                Ok(sent) => assert_eq!((name, sent.as_str()), ("", "batch_id=&from=a"), "{query}"),
            }
        }
    }

    #[test]
    fn with_a_held_key_what_was_checked_is_what_is_sent() {
        let sent =
            held("to=2026-01-08T00%3a00:00%2B05:30&from=2026-01-01T00:00:00Z&page_number=%30&st%61tus=busy");
        assert_eq!(
            sent.unwrap(),
            "from=2026-01-01T00%3A00%3A00Z&page_number=0&status=busy&to=2026-01-08T00%3A00%3A00%2B05%3A30"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_passes_with_a_held_key_decodes_to_another_parameter(
            query in "((from|to|status|agent_id|%66rom|page_number)(=|%3D|;|&|%26|%2526|%3B|a|1|[ -~]){0,6}&?){0,4}",
        ) {
            if let Ok(mut sent) = held(&query) {
                for _ in 0..3 {
                    for pair in sent.split(['&', ';']).filter(|pair| !pair.is_empty()) {
                        let name = pair.split('=').next().unwrap();
                        prop_assert!(HELD_PARAMETERS.contains(&name), "{query} became {sent}");
                    }
                    // Decoded once more, as a hop in between may do.
                    sent = form_urlencoded::parse(sent.as_bytes())
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect::<Vec<_>>()
                        .join("&");
                }
            }
        }

        #[test]
        fn the_pages_together_are_the_history(
            lengths in prop::collection::vec(1usize..30, 0..6),
            size in 1u64..12,
        ) {
            let slices: Vec<_> = lengths.iter().map(|&length| {
                let all = whole_slice(&vec!["{}"; length]);
                // Every third row is left out, so that slices have several runs.
                let mut position = 0;
                EntrySlice::select(all.entry, 0..length, |_| { position += 1; position % 3 != 0 }).unwrap()
            }).collect();
            let ids = |slices: &[EntrySlice]| -> Vec<_> {
                slices.iter().flat_map(|s| s.rows().map(|r| r.id.clone()).collect::<Vec<_>>()).collect()
            };
            let all = ids(&slices);
            for (number, expected) in all.chunks(usize::try_from(size).unwrap()).enumerate() {
                prop_assert_eq!(ids(&cut(&slices, number as u64 * size, size)), expected);
            }
            prop_assert!(cut(&slices, all.len() as u64, size).is_empty());
        }
    }
}
