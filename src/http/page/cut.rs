use bytes::Bytes;
use http::request::Parts;

use super::ready::{ReadyPage, deadline};
use crate::domain::{MAX_PAGE_SIZE, Rounding};
use crate::engine::{Newest, Question, ResponseMode};
use crate::http::App;
use crate::http::authorized::AuthorizedRequest;
use crate::http::body::{WholeBody, page_envelope};
use crate::http::params::Params;
use crate::http::prefer::directives;
use crate::http::present::{Etag, Storable};
use crate::http::problem::Problem;
use crate::http::question::{INSTANT, RowSelection, filters, instant};
use crate::shape::Zone;

/// The parameters of the path where the page is cut from the history, or where the gateway holds the key.
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

/// A page to be cut from the history.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    number: u64,
    size: u64,
    rows: RowSelection,
}

impl Cut {
    /// Parses the parameters that select the page. Unknown parameters are refused.
    pub(super) fn parse(mut params: Params) -> Result<Self, Problem> {
        const DEFAULT_SIZE: u64 = 20;
        let at_least_one = |text: &str| text.parse().ok().filter(|&number: &u64| number > 0);
        let number = params.parse("page_number", "an integer from 1", at_least_one)?;
        let size = params.parse("page_size", "an integer from 1; more than 50 is 50", at_least_one)?;
        let filters = filters(&mut params)?;
        let from = params.parse("from", INSTANT, |text| instant(text, &Zone::utc(), Rounding::Up))?;
        let to = params.parse("to", INSTANT, |text| instant(text, &Zone::utc(), Rounding::Down))?;
        params.finish(&PAGE_PARAMETERS)?;
        let size = size.unwrap_or(DEFAULT_SIZE).min(MAX_PAGE_SIZE as u64);
        let rows = RowSelection { filters, any_status: None, from, to };
        Ok(Self { number: number.unwrap_or(1), size, rows })
    }

    /// Reads the history only down to this page.
    pub(super) async fn take(
        self,
        app: &App,
        authorized: &AuthorizedRequest,
        parts: &Parts,
    ) -> Result<ReadyPage, Problem> {
        let directives = directives(&parts.headers);
        let mode = ResponseMode::Paged { deadline: deadline(app, parts) };
        let question = Question {
            newest: Some(Newest { skip: (self.number - 1).saturating_mul(self.size), take: self.size }),
            ..authorized.question(&self.rows, directives, mode)
        };
        let problem = |e| authorized.renderer.problem(&e);
        let answer = app.unless_ended(Box::pin(app.engine.ask(question))).await.map_err(problem)?;
        // A page has few rows, however many precede it.
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
    use crate::domain::{Filters, Timestamp};

    fn parse(query: &str) -> Result<Cut, String> {
        Cut::parse(Params::read(Some(query)).unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn numbers_and_sizes_pages_as_upstream_does() {
        let rows = || RowSelection { filters: Filters::default(), any_status: None, from: None, to: None };
        let cut = |number, size| Cut { number, size, rows: rows() };
        assert_eq!(parse("").unwrap(), cut(1, 20));
        assert_eq!(parse("page_number=3&page_size=50").unwrap(), cut(3, 50));
        assert_eq!(parse("page_size=1000").unwrap(), cut(1, 50));
    }

    #[test]
    fn refuses_unknown_parameters_by_name() {
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
    fn reads_dates_as_for_all_rows() {
        let cut = parse("from=2026-01-01&to=2026-01-31").unwrap();
        let text = |at: Option<Timestamp>| at.unwrap().to_string();
        assert_eq!(text(cut.rows.from), "2026-01-01T00:00:00.000000Z");
        assert_eq!(text(cut.rows.to), "2026-01-31T23:59:59.999999Z");
    }
}
