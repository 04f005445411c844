//! The OpenAPI description, and a page that renders it without outside assets.
//!
//! The page is RapiDoc (MIT). Its only script is vendored next to this file as its package ships it,
//! compressed; there is no build step.

use std::io::Read;

use axum::body::Body;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, header};

use super::OPENAPI;
use super::negotiate::{Codings, set_coding};
use super::problem::Problem;
use crate::encode::Coding;

/// The path of the page's script. The version is in the name, so browsers may cache it forever.
pub(super) const SCRIPT_PATH: &str = "/docs/rapidoc-9.3.8.min.js";

const SCRIPT: &[u8] = include_bytes!("docs/rapidoc-9.3.8.min.js.gz");
const PAGE: &str = include_str!("docs/index.html");

/// Allows nothing from other origins. Styles are inline because the script creates them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// `GET /openapi.yaml`.
pub(super) async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/yaml");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))], OPENAPI)
        .into_response()
}

/// `GET /docs`.
pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Html(PAGE)).into_response()
}

/// `GET /docs/rapidoc-….min.js`: as stored, compressed, or plain for clients that don't accept gzip.
pub(super) async fn script(headers: HeaderMap) -> Result<Response, Problem> {
    let coding = Codings::choose(&headers)?.preferred;
    let body = match coding {
        Coding::Gzip => Bytes::from_static(SCRIPT),
        Coding::Identity => {
            let mut plain = Vec::new();
            // The file is part of the program and valid gzip, so this does not fail.
            let _ = GzDecoder::new(SCRIPT).read_to_end(&mut plain);
            plain.into()
        }
    };
    let mut response = Response::new(Body::from(body));
    set_coding(&mut response, coding);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Ok(response)
}
