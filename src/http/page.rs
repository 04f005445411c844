//! `GET /v2/agent/{agent_id}/executions`: upstream's own path, for programs written for upstream.
//!
//! With both dates, at most as far apart as upstream allows, the query is sent upstream as it is
//! ([`relayed`]). With other dates or none, the page is cut from the history, of which no more is read than
//! the pages up to it. No upstream request would then carry an unknown parameter, so it is refused by name
//! rather than ignored: it may be a filter.

mod cut;
mod ready;
mod relayed;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;

use self::cut::Cut;
use self::relayed::relayed;
use super::App;
use super::authorized::{AgentSegment, AuthorizedRequest};
use super::negotiate::Codings;
use super::params::Params;
use super::problem::{ErrorStyle, Problem};
use super::question::{Format, instant};
use crate::domain::Rounding;
use crate::shape::Zone;

pub use self::cut::PAGE_PARAMETERS;

/// The longest span that upstream accepts.
const LONGEST_SPAN: Duration = Duration::from_hours(7 * 24);

/// The handler.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    agent: AgentSegment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    // Boxed for the same reason as in `all`.
    Box::pin(answer(app, agent, parts)).await
}

async fn answer(app: Arc<App>, agent: AgentSegment, parts: Parts) -> Result<Response, Problem> {
    let authorized = AuthorizedRequest::begin(&app, &agent, &parts, ErrorStyle::Upstreams).await?;
    authorized.request_log.note_format(Format::Json);
    let codings = Codings::choose(&parts.headers)?;
    let params = Params::read(parts.uri.query())?;
    let place = app.take_place(authorized.caller, authorized.credential.id())?;
    let page = if is_for_upstream(&params) {
        relayed(&app, &authorized, &parts, &params).await?
    } else {
        Cut::parse(params)?.take(&app, &authorized, &parts).await?
    };
    page.present(&app, &authorized, &parts, codings, place).await
}

/// Whether upstream accepts the dates of a query: both given, at most as far apart as it allows. Invalid
/// dates are left for upstream to refuse.
fn is_for_upstream(params: &Params) -> bool {
    if !(params.has("from") && params.has("to")) {
        return false;
    }
    // A bare date stands for its first instant: upstream accepts two dates seven days apart.
    let read = |name| params.only(name).and_then(|text| instant(text, &Zone::utc(), Rounding::Up));
    match (read("from"), read("to")) {
        (Some(from), Some(to)) => to.since(from) <= LONGEST_SPAN,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_two_dates_at_most_seven_days_apart() {
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
}
