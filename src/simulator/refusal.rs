use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Upstream's error responses. The text is sometimes in `detail`, sometimes in `message`, and sometimes in
/// `error`, as in upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A parameter has a value of the wrong form.
    Value { parameter: &'static str, accepted: &'static str },
    /// `from` and `to` are missing, too far apart, or reversed.
    Window(String),
    /// The body is not valid for the path.
    Body(String),
    /// The key is missing or not accepted.
    Key,
    /// The resource does not exist.
    NotFound(&'static str),
    /// The path does not support the method.
    Method,
    /// Too many requests.
    Rate { retry_after: Option<Duration> },
    /// The status of a fault.
    Status { status: u16, retry_after: Option<Duration> },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body, retry_after) = match self {
            Self::Value { parameter, accepted } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                format!(
                    "{{\"detail\":[{{\"type\":\"value_error\",\"loc\":[\"query\",\"{parameter}\"],\"msg\":\"Input should be {accepted}\"}}]}}"
                ),
                None,
            ),
            Self::Window(message) | Self::Body(message) => {
                (StatusCode::BAD_REQUEST, format!("{{\"message\":\"{message}\"}}"), None)
            }
            Self::Key => {
                (StatusCode::FORBIDDEN, "{\"detail\":\"Access denied: invalid API key\"}".to_owned(), None)
            }
            Self::NotFound(what) => {
                (StatusCode::NOT_FOUND, format!("{{\"detail\":\"{what} not found\"}}"), None)
            }
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, "{\"detail\":\"Method Not Allowed\"}".to_owned(), None)
            }
            Self::Rate { retry_after } => (
                StatusCode::TOO_MANY_REQUESTS,
                "{\"message\":\"Rate limit exceeded: 500 per 1 minute\"}".to_owned(),
                retry_after,
            ),
            Self::Status { status, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, fault_body(status), retry_after)
            }
        };
        let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn fault_body(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    match code {
        502..=504 => format!(
            "<html>\r\n<head><title>{code} {reason}</title></head>\r\n<body>\r\n<center><h1>{code} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
        ),
        429 => "{\"message\":\"Rate limit exceeded\"}".to_owned(),
        500 => "{\"error\":\"Internal Server Error\",\"message\":500}".to_owned(),
        _ => format!("{{\"detail\":\"{reason}\"}}"),
    }
}
