//! The trait between `http`, which decides what is forwarded, and the client that sends it.

use std::error::Error;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

/// The body of a forwarded request or response.
pub type ForwardBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Sends requests to upstream as they are.
pub trait Forward: Send + Sync + 'static {
    /// Sends a request whose URI is a path and a query, and returns upstream's response with a streaming body.
    ///
    /// Only `GET` and `HEAD` without a body may be sent a second time. Dropping the future or the response's body closes the
    /// connection to upstream.
    fn forward(
        &self,
        request: Request<ForwardBody>,
    ) -> BoxFuture<'_, Result<Response<ForwardBody>, ForwardError>>;
}

/// Why a forwarded request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// No connection could be made, so upstream did not see the request.
    #[error("upstream can't be reached: {0}")]
    Unreachable(String),
    /// The connection ended before a response arrived. Upstream may have acted on the request.
    #[error("the connection broke before upstream responded")]
    Broken,
    /// Upstream was silent for too long while it was its turn to send or to read. It may have acted on the request.
    #[error("upstream was silent for too long")]
    TimedOut,
    /// The caller stopped sending its body.
    #[error("the request's body ended early")]
    BodyBroke,
    /// The path can't be sent as it is.
    #[error("the path can't be sent upstream as it is")]
    BadTarget,
}
