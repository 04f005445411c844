use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use crate::engine::{CacheReport, Freshness};
use crate::http::App;
use crate::http::all::write_whole;
use crate::http::authorized::AuthorizedRequest;
use crate::http::body::WholeBody;
use crate::http::negotiate::Codings;
use crate::http::places::ResponsePlace;
use crate::http::prefer::Prefer;
use crate::http::present::{self, Etag, Storable};
use crate::http::problem::Problem;

/// A page that is ready to be sent.
pub(super) struct ReadyPage {
    pub(super) whole: WholeBody,
    pub(super) rows: u64,
    pub(super) etag: Etag,
    pub(super) freshness: Freshness,
    pub(super) report: CacheReport,
    pub(super) storable: Storable,
}

impl ReadyPage {
    /// The response; 304 if the caller already has the page.
    pub(super) async fn present(
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

/// How long a caller waits for a page.
pub(super) fn deadline(app: &App, parts: &Parts) -> Instant {
    Instant::now() + Prefer::read(&parts.headers).wait_within(app.settings.request_deadline)
}
