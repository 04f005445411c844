//! The trait between `http`, which decides what is forwarded, and the client that sends it.

use std::error::Error;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

/// A body on its way through.
pub type ForwardBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Sends requests to upstream as they are.
pub trait Forward: Send + Sync + 'static {
    /// Sends a request whose URI is a path and a query, and returns the head of upstream's answer with a body that
    /// streams.
    ///
    /// Only `GET` and `HEAD` without a body may be sent a second time. Dropping the future, or the body of the answer,
    /// closes upstream's connection.
    fn forward(
        &self,
        request: Request<ForwardBody>,
    ) -> BoxFuture<'_, Result<Response<ForwardBody>, ForwardError>>;
}

/// Why a forwarded request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// No connection could be made: upstream did not see the request.
    #[error("upstream can't be reached: {0}")]
    Unreachable(String),
    /// The connection ended before an answer came: upstream may have acted on the request.
    #[error("the connection broke before upstream answered")]
    Broken,
    /// Upstream was silent for too long while it was the one to move: it may have acted on the request.
    #[error("upstream was silent for too long")]
    TimedOut,
    /// The caller stopped sending its body.
    #[error("the request's body did not come to its end")]
    BodyBroke,
    /// The path can't be sent as it came.
    #[error("the path can't be sent upstream as it is")]
    BadTarget,
}
