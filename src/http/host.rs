use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Version, header};

use super::params::invalid;

/// The layer that holds HTTP/1.1 to naming one host (RFC 9112 section 3.2): with none or two, two hops may differ about whom
/// a request is for.
pub(super) async fn one_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts != 1 {
        return invalid(format!("`Host` is given {hosts} times; accepted is once")).into_response();
    }
    next.run(request).await
}
