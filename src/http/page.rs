//! `GET /v2/agent/{agent_id}/executions`: upstream's own path, for programs written for upstream.
//!
//! With both dates, no further apart than upstream takes, the query goes upstream as it came ([`relayed`]). With other dates, or
//! none, the page is cut from the history, of which no more is read than the pages up to it. Then a parameter that no upstream
//! call will see is refused by name rather than left out of account: it may be a filter.

mod relayed;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use self::relayed::relayed;
use super::App;
use super::all::write_whole;
use super::authorized::{AgentSegment, AuthorizedRequest};
use super::body::{WholeBody, page_envelope};
use super::negotiate::Codings;
use super::params::Params;
use super::places::ResponsePlace;
use super::prefer::{Prefer, directives};
use super::present::{self, Etag, Storable};
use super::problem::{ErrorStyle, Problem};
use super::question::{Format, INSTANT, filters, instant};
use crate::domain::{Filters, MAX_PAGE_SIZE, Rounding, Timestamp};
use crate::engine::{CacheReport, Freshness, Newest, Question, ResponseMode, Tolerance};
use crate::shape::Zone;

/// What the path takes where the page is cut from the history, and where the gateway holds the key.
pub const PAGE_PARAMETERS: [&str; 9] = [
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

/// The most that upstream takes between two dates.
const LONGEST_SPAN: Duration = Duration::from_hours(7 * 24);

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
    let page = if is_for_upstream(&params) {
        relayed(&app, &authorized, &parts, &params).await?
    } else {
        Cut::parse(params)?.take(&app, &authorized, &parts).await?
    };
    page.present(&app, &authorized, &parts, codings, place).await
}

/// Whether upstream takes the dates of a query: both, no further apart than it allows. Those that can't be read are upstream's
/// to refuse.
fn is_for_upstream(params: &Params) -> bool {
    if !(params.has("from") && params.has("to")) {
        return false;
    }
    // A bare date is taken for its first instant: two dates seven days apart are what upstream takes.
    let read = |name| params.only(name).and_then(|text| instant(text, &Zone::utc(), Rounding::Up));
    match (read("from"), read("to")) {
        (Some(from), Some(to)) => to.since(from) <= LONGEST_SPAN,
        _ => true,
    }
}

/// A page that is there.
struct ReadyPage {
    whole: WholeBody,
    rows: u64,
    etag: Etag,
    freshness: Freshness,
    report: CacheReport,
    storable: Storable,
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
        present::page_headers(
            response.headers_mut(),
            self.freshness,
            &self.report,
            self.storable,
            &self.etag,
        );
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

fn deadline(app: &App, parts: &Parts) -> Instant {
    Instant::now() + Prefer::read(&parts.headers).wait_within(app.settings.request_deadline)
}

/// A page to be cut from the history.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    number: u64,
    size: u64,
    filters: Filters,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Cut {
    fn parse(mut params: Params) -> Result<Self, Problem> {
        const DEFAULT_SIZE: u64 = 20;
        let at_least_one = |text: &str| text.parse().ok().filter(|&number: &u64| number > 0);
        let number = params.parse("page_number", "an integer from 1", at_least_one)?;
        let size = params.parse("page_size", "an integer from 1; more than 50 is 50", at_least_one)?;
        let filters = filters(&mut params)?;
        let from = params.parse("from", INSTANT, |text| instant(text, &Zone::utc(), Rounding::Up))?;
        let to = params.parse("to", INSTANT, |text| instant(text, &Zone::utc(), Rounding::Down))?;
        params.finish(&PAGE_PARAMETERS)?;
        let size = size.unwrap_or(DEFAULT_SIZE).min(MAX_PAGE_SIZE as u64);
        Ok(Self { number: number.unwrap_or(1), size, filters, from, to })
    }

    async fn take(
        self,
        app: &App,
        authorized: &AuthorizedRequest,
        parts: &Parts,
    ) -> Result<ReadyPage, Problem> {
        let directives = directives(&parts.headers);
        let question = Question {
            caller: authorized.caller,
            credential: authorized.credential.clone(),
            agent: authorized.agent,
            filters: self.filters,
            any_status: None,
            from: self.from,
            to: self.to,
            newest: Some(Newest { skip: (self.number - 1).saturating_mul(self.size), take: self.size }),
            directives,
            tolerance: Tolerance::Strict,
            mode: ResponseMode::Paged { deadline: deadline(app, parts) },
            trace: authorized.request_log.trace.clone(),
        };
        let problem = |e| authorized.renderer.problem(&e);
        let answer = app.unless_ended(Box::pin(app.engine.ask(question))).await.map_err(problem)?;
        // A page's rows are few, however many lie before them.
        let page = app.unless_ended(Box::pin(answer.collect(u64::MAX))).await.map_err(problem)?;
        let verdict = page.verdict;
        Ok(ReadyPage {
            etag: Etag::of_verdict(&verdict, None),
            rows: verdict.count,
            whole: WholeBody::new(
                page_envelope(self.number, self.size, verdict.total),
                page.slices,
                Bytes::new(),
                page.held,
            ),
            freshness: verdict.freshness,
            report: verdict.report,
            storable: Storable::under(&directives),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Cut, String> {
        Cut::parse(Params::read(Some(query)).unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn pages_are_counted_and_sized_as_upstream_does() {
        let cut = |number, size| Cut { number, size, filters: Filters::default(), from: None, to: None };
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
            ("from=yesterday", "`from`"),
            ("to=2026-13-01", "`to`"),
            ("sort=asc", "`sort`"),
        ] {
            assert!(parse(query).unwrap_err().contains(name), "{query}");
        }
    }

    #[test]
    fn two_dates_at_most_seven_days_apart_are_for_upstream() {
        let is_for_upstream = |query| is_for_upstream(&Params::read(Some(query)).unwrap());
        for query in [
            "from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z",
            "from=2026-01-01T00:00:00%2B05:30&to=2026-01-07T18:30:00.000Z",
            "from=2026-01-01&to=2026-01-08",
            "to=2026-01-01T00:00:00Z&from=2026-02-01T00:00:00Z",
            "from=yesterday&to=today",
            "from=a&from=b&to=2026-01-08",
        ] {
            assert!(is_for_upstream(query), "{query}");
        }
        for query in [
            "",
            "from=2026-01-01T00:00:00Z",
            "to=2026-01-01T00:00:00Z",
            "from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00.001Z",
            "from=2026-01-01T00:00:00+05:30&to=2026-01-08T00:00:00Z",
            "from=2026-01-01&to=2026-01-09",
        ] {
            assert!(!is_for_upstream(query), "{query}");
        }
    }

    #[test]
    fn dates_of_a_page_that_is_cut_are_read_as_those_of_all_rows() {
        let cut = parse("from=2026-01-01&to=2026-01-31").unwrap();
        let text = |at: Option<Timestamp>| at.unwrap().to_string();
        assert_eq!(text(cut.from), "2026-01-01T00:00:00.000000Z");
        assert_eq!(text(cut.to), "2026-01-31T23:59:59.999999Z");
    }
}
