//! Response headers: caching, validators, and the origin of the rows.

use std::fmt::Write;

use axum::response::Response;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::fields;
use crate::domain::{AgentId, Digest, Timestamp};
use crate::engine::{CacheDirectives, CacheReport, Freshness, RowNeed, StaleReason, Tolerance, Verdict};

/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// RFC 7240.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The number of rows.
pub(super) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The request headers that responses depend on.
const VARY: HeaderValue = HeaderValue::from_static("Accept, Accept-Encoding, Authorization, Prefer");

/// A validator: equal for equal rows, on every replica, in every coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etag(String);

impl Etag {
    /// The validator of these rows. It is weak, because codings and `as_of` differ between equal responses.
    pub(super) fn of(digest: Digest, count: u64) -> Self {
        Self(format!("W/\"{:032x}-{count:x}\"", digest.0))
    }

    /// The validator of an answer. It also covers whether older rows were left out; `form` distinguishes
    /// projected rows from whole rows.
    pub(super) fn of_verdict(verdict: &Verdict, form: Option<&str>) -> Self {
        let Self(mut text) = Self::of(verdict.digest, verdict.total.unwrap_or(verdict.count));
        if verdict.has_more() {
            text.insert(text.len() - 1, '+');
        }
        if let Some(form) = form {
            text.insert_str(text.len() - 1, &format!("-{form}"));
        }
        Self(text)
    }

    /// Whether `If-None-Match` contains it.
    pub(super) fn is_known_to(&self, headers: &HeaderMap) -> bool {
        fields::names_etag(headers, Some(&self.0))
    }
}

/// What is known about a response when its headers are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeaderState<'a> {
    /// Everything: the response is complete.
    Verdict(&'a Verdict),
    /// Nothing yet: rows are read while the response is sent. The tolerance says whether parts may be left
    /// out.
    Unknown(Tolerance),
}

/// Whether the gateway may store what it read for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storable {
    /// It may store it.
    Yes,
    /// It must not, because the request has `no-store`.
    No,
}

impl Storable {
    /// What the request's directives allow.
    pub(super) const fn under(directives: &CacheDirectives) -> Self {
        if directives.no_store { Self::No } else { Self::Yes }
    }
}

/// The 304 response, if `If-None-Match` names the validator of a complete answer; `None` otherwise. It has
/// the headers of the response that would be sent, without a body.
pub(super) fn not_modified(
    headers: &HeaderMap,
    verdict: &Verdict,
    form: Option<&str>,
    response: impl FnOnce() -> Response,
) -> Option<Response> {
    let is_known = || Etag::of_verdict(verdict, form).is_known_to(headers);
    if !(headers.contains_key(header::IF_NONE_MATCH) && verdict.is_complete() && is_known()) {
        return None;
    }
    let mut response = response();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().remove(header::CONTENT_TYPE);
    Some(response)
}

/// Writes the headers that every response has. `applied` names the preferences that were honored; `form`
/// distinguishes projected rows from whole rows.
pub(super) fn headers(
    headers: &mut HeaderMap,
    state: HeaderState<'_>,
    storable: Storable,
    applied: Option<String>,
    form: Option<&str>,
) {
    headers.insert(header::VARY, VARY);
    set(headers, PREFERENCE_APPLIED, applied);
    match state {
        HeaderState::Verdict(verdict) => {
            headers.insert(header::AGE, HeaderValue::from(verdict.freshness.age.as_secs()));
            set(headers, CACHE_STATUS, Some(cache_status(&verdict.report, verdict.freshness, storable)));
            if verdict.is_complete() {
                set(headers, header::ETAG, Some(Etag::of_verdict(verdict, form).0));
                set(headers, header::CACHE_CONTROL, Some(cache_control(verdict.freshness)));
            } else {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
        HeaderState::Unknown(tolerance) => {
            let keeping = match tolerance {
                Tolerance::Strict => "private, no-cache",
                Tolerance::Lenient => "no-store",
            };
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keeping));
            headers
                .insert(CACHE_STATUS, HeaderValue::from_static("fanfold; fwd=partial; detail=\"streamed\""));
        }
    }
}

/// Writes the headers of a page.
pub(super) fn page_headers(
    headers: &mut HeaderMap,
    freshness: Freshness,
    report: &CacheReport,
    storable: Storable,
    etag: &Etag,
) {
    headers.insert(header::VARY, VARY);
    headers.insert(header::AGE, HeaderValue::from(freshness.age.as_secs()));
    set(headers, CACHE_STATUS, Some(cache_status(report, freshness, storable)));
    set(headers, header::CACHE_CONTROL, Some(cache_control(freshness)));
    set(headers, header::ETAG, Some(etag.0.clone()));
}

/// Always `private`, because shared caches are known to serve one caller's response to another key.
fn cache_control(freshness: Freshness) -> String {
    format!("private, max-age={}", freshness.lifetime.as_secs())
}

/// `Cache-Status` (RFC 9211): a hit if no request went upstream, otherwise what was missing; the remaining
/// lifetime; and the rows by origin.
fn cache_status(report: &CacheReport, freshness: Freshness, storable: Storable) -> String {
    let was_asked = report.upstream_requests > 0 || report.miss_rows > 0 || report.joined_rows > 0;
    let is_known = report.hit_rows > 0 || report.stale_rows > 0;
    let mut text = "fanfold; ".to_owned();
    text.push_str(match (report.stale, was_asked, is_known) {
        (Some(StaleReason::UpstreamFailed | StaleReason::RateLimited), _, _) => "fwd=stale",
        (Some(StaleReason::Revalidating) | None, false, _) => "hit",
        (Some(StaleReason::Revalidating) | None, true, true) => "fwd=partial",
        (Some(StaleReason::Revalidating) | None, true, false) => "fwd=miss",
    });
    if was_asked && storable == Storable::Yes {
        text.push_str("; stored");
    }
    if report.joined_rows > 0 {
        text.push_str("; collapsed");
    }
    let seconds = |length: std::time::Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let ttl = seconds(freshness.lifetime).saturating_sub(seconds(freshness.age));
    let reason = match report.stale {
        None => "",
        Some(StaleReason::Revalidating) => " reason=revalidating",
        Some(StaleReason::UpstreamFailed) => " reason=upstream-failed",
        Some(StaleReason::RateLimited) => " reason=rate-limited",
    };
    let CacheReport { hit_rows, miss_rows, joined_rows, stale_rows, upstream_requests, stale: _ } = report;
    // Writing into a string can't fail.
    let _ = write!(
        text,
        "; ttl={ttl}; detail=\"hit={hit_rows} read={miss_rows} joined={joined_rows} stale={stale_rows} \
         requests={upstream_requests}{reason}\"",
    );
    text
}

/// What a request needs of known rows: a conditional request may need no bytes.
pub(super) fn row_need(headers: &HeaderMap) -> RowNeed {
    if headers.contains_key(header::IF_NONE_MATCH) { RowNeed::Facts } else { RowNeed::Bytes }
}

/// Sets the number of rows, if it is known.
pub(super) fn total_count(headers: &mut HeaderMap, total: Option<u64>) {
    if let Some(total) = total {
        headers.insert(TOTAL_COUNT, HeaderValue::from(total));
    }
}

/// Names the file that a response should be saved as: content, agent, and day.
pub(super) fn attachment(headers: &mut HeaderMap, what: &str, of: &str, as_of: Timestamp) {
    let as_of = as_of.to_string();
    let day = as_of.get(..10).unwrap_or_default();
    let value = format!("attachment; filename=\"{what}-{of}-{day}.csv\"");
    set(headers, header::CONTENT_DISPOSITION, Some(value));
}

/// The part of a saved file's name that describes one agent.
pub(super) fn name_of(agent: AgentId) -> String {
    agent.to_string().chars().take(8).collect()
}

/// Sets a header whose value is composed here, in ASCII.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<String>) {
    if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(report: CacheReport) -> String {
        let freshness = Freshness { age: Duration::from_secs(4), lifetime: Duration::from_secs(10) };
        cache_status(&report, freshness, Storable::Yes)
    }

    #[test]
    fn cache_status_gives_the_origin_of_the_rows() {
        let none = CacheReport::default();
        assert_eq!(
            status(CacheReport { hit_rows: 120, ..none }),
            "fanfold; hit; ttl=6; detail=\"hit=120 read=0 joined=0 stale=0 requests=0\""
        );
        let cold = CacheReport { miss_rows: 50, upstream_requests: 1, ..none };
        assert!(status(cold).starts_with("fanfold; fwd=miss; stored; ttl=6"));
        let not_kept = cache_status(&cold, Freshness::default(), Storable::No);
        assert!(not_kept.starts_with("fanfold; fwd=miss; ttl=0"));
        assert!(status(CacheReport { hit_rows: 1, ..cold }).starts_with("fanfold; fwd=partial; stored"));
        assert!(
            status(CacheReport { joined_rows: 1, ..none })
                .starts_with("fanfold; fwd=miss; stored; collapsed;")
        );
    }

    #[test]
    fn a_stale_response_says_why() {
        let stale = |reason| CacheReport { stale_rows: 3, stale: Some(reason), ..CacheReport::default() };
        let renewed = cache_status(
            &stale(StaleReason::Revalidating),
            Freshness { age: Duration::from_secs(40), lifetime: Duration::from_secs(10) },
            Storable::Yes,
        );
        assert!(renewed.starts_with("fanfold; hit; ttl=-30;") && renewed.contains("reason=revalidating"));
        let failed = status(stale(StaleReason::UpstreamFailed));
        assert!(failed.starts_with("fanfold; fwd=stale;") && failed.contains("reason=upstream-failed"));
    }

    #[test]
    fn etags_are_compared_weakly() {
        let etag = Etag::of(Digest(255), 16);
        assert_eq!(etag.0, "W/\"000000000000000000000000000000ff-10\"");
        let known = |value: &str| {
            let value = HeaderValue::try_from(value).unwrap();
            etag.is_known_to(&[(header::IF_NONE_MATCH, value)].into_iter().collect())
        };
        assert!(known("*"));
        assert!(known(&etag.0));
        assert!(known("\"a,b\", \"000000000000000000000000000000ff-10\""));
        assert!(!known("\"000000000000000000000000000000ff-11\""));
        assert!(!known("\"000000000000000000000000000000ff-10-0a1b2c3d\""));
        assert!(!etag.is_known_to(&HeaderMap::new()));
    }
}
