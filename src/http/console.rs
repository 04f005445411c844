//! The console: a page that shows an agent's calls. Its files are in the folder `console/` and part of the
//! program.
//!
//! The page has no rights of its own. It uses this gateway like any client, with a key that its user types
//! in, and its content security policy lets it load nothing from elsewhere. All its URLs are relative, so it
//! works below a path prefix.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use sha2::{Digest as _, Sha256};

use super::fields;
use super::negotiate::{Codings, set_coding};
use super::params;
use super::problem::Problem;
use crate::encode::Coding;

/// Allows nothing from other origins, no inline script or style, and no text that is parsed as HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Sent with every file, because a module that is opened directly is a page too.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    // The names of files have no version, so browsers ask every time and get a 304.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (header::VARY, HeaderValue::from_static("Accept-Encoding")),
];

/// A file of the page.
struct ConsoleFile {
    name: &'static str,
    content: &'static [u8],
    /// Computed when the file is first requested.
    encoded: OnceLock<EncodedFile>,
}

struct EncodedFile {
    etag: HeaderValue,
    gzip: Bytes,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(ConsoleFile {
            name: $name,
            content: include_bytes!(concat!("../../console/", $name)),
            encoded: OnceLock::new(),
        }),*]
    };
}

const INDEX: &str = "index.html";

static FILES: [ConsoleFile; 29] = files![
    "index.html",
    "console.css",
    "icon.svg",
    "main.mjs",
    "agents.mjs",
    "api.mjs",
    "app.mjs",
    "call.mjs",
    "chart.mjs",
    "controls.mjs",
    "csv.mjs",
    "days.mjs",
    "decimal.mjs",
    "follow.mjs",
    "key.mjs",
    "loader.mjs",
    "panels.mjs",
    "rows.mjs",
    "status.mjs",
    "table.mjs",
    "totals.mjs",
    "ui.mjs",
    "view.mjs",
    "words.mjs",
    "vendor/hooks.mjs",
    "vendor/htm.mjs",
    "vendor/preact.mjs",
    "vendor/uplot.css",
    "vendor/uplot.mjs",
];

/// The console's paths.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/console", get(to_folder))
        .route("/console/", get(index))
        .route("/console/{*file}", get(file))
}

/// `GET /console`: redirects to the folder. The reference is relative, so that it works below any path prefix.
async fn to_folder(uri: Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("console/{query}"));
    let location = location.unwrap_or(HeaderValue::from_static("console/"));
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
}

/// `GET /console/`.
async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    respond(INDEX, &headers)
}

/// `GET /console/{file}`.
async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    respond(&name, &headers)
}

fn respond(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(params::nothing_here)?;
    let coding = Codings::choose(headers)?.preferred;
    let encoded = file.encoded.get_or_init(|| EncodedFile::of(file.content));
    let mut response = HEADERS.into_response();
    response.headers_mut().insert(header::ETAG, encoded.etag.clone());
    if fields::names_etag(headers, encoded.etag.to_str().ok()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type()));
    set_coding(&mut response, coding);
    *response.body_mut() = Body::from(match coding {
        Coding::Identity => Bytes::from_static(file.content),
        Coding::Gzip => encoded.gzip.clone(),
    });
    Ok(response)
}

impl ConsoleFile {
    fn media_type(&self) -> &'static str {
        match self.name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }
}

impl EncodedFile {
    fn of(content: &[u8]) -> Self {
        let sha256 = Sha256::digest(content);
        let digits: String = sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // Weak: it is the same for both codings.
        let etag =
            HeaderValue::try_from(format!("W/\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory can't fail.
        let _ = encoder.write_all(content);
        Self { etag, gzip: encoder.finish().unwrap_or_default().into() }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
