//! Answers that go wrong.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream;
use http::header;

/// Marks an answer in whose place the connection is to be reset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset;

/// Into how many parts a slow body is cut.
const PARTS: usize = 20;

/// How long the half of a body that is sent may take to leave before it breaks: what has not been flushed is
/// lost.
const FLUSH: Duration = Duration::from_millis(30);

/// An answer in whose place the connection is reset. A server that does not know [`Reset`] gets a body that
/// breaks.
pub(super) fn reset() -> Response {
    let broken = stream::iter([Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let mut response = Body::from_stream(broken).into_response();
    response.extensions_mut().insert(Reset);
    response
}

/// What a captive portal or a proxy's landing page looks like.
pub(super) fn html() -> Response {
    Html("<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>\n")
        .into_response()
}

/// An error that says it is none.
pub(super) fn error_body() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], "{\"error\":\"Something went wrong\",\"message\":500}")
        .into_response()
}

/// A page without rows that promises more.
pub(super) fn empty_page(number: u64) -> Response {
    let body = format!(
        "{{\"page_number\":{number},\"page_size\":50,\"total\":0,\"has_more\":true,\"data\":[],\"filters\":{{}},\"sorts\":{{}}}}"
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The same answer, whose body breaks off in its middle.
pub(super) async fn truncate(response: Response) -> Response {
    reshape(response, |body| {
        let half = body.slice(..body.len() / 2);
        let parts = [Some(half), None];
        Body::from_stream(stream::unfold(parts.into_iter(), |mut parts| async move {
            match parts.next()? {
                Some(half) => Some((Ok(half), parts)),
                None => {
                    tokio::time::sleep(FLUSH).await;
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), parts))
                }
            }
        }))
    })
    .await
}

/// The same answer, whose body takes this long to come.
pub(super) async fn slow(response: Response, length: Duration) -> Response {
    reshape(response, |body| {
        let pause = length / PARTS as u32;
        let step = body.len().div_ceil(PARTS).max(1);
        Body::from_stream(stream::unfold(body, move |mut left| async move {
            if left.is_empty() {
                return None;
            }
            tokio::time::sleep(pause).await;
            let part = left.split_to(step.min(left.len()));
            Some((Ok::<_, io::Error>(part), left))
        }))
    })
    .await
}

/// The same answer with another body of the same length, as far as its head can tell.
async fn reshape(response: Response, into: impl FnOnce(Bytes) -> Body) -> Response {
    let (mut head, body) = response.into_parts();
    // A body made in memory can't fail to be read.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Response::from_parts(head, into(body))
}
