//! Traces: a span for every response, and a child span for every request to upstream.
//!
//! Each kind of span begins and ends in one place. A W3C context ([`Trace`]) that travels with the question links them, not the
//! current span of a thread, because a shared read runs in its own task and belongs to the caller that started it. Therefore
//! spans are made with OpenTelemetry's own types, without a bridge from log lines.
//!
//! [`Tracing`] exports spans over OTLP if the standard environment variables name a receiver. Without one, a [`Tracer`]
//! makes no spans, and a caller's context goes upstream unchanged.
//!
//! The attributes of spans are a closed list, see [`spans`]: identifiers, counts, times and kinds. They never contain a query
//! string, a header, a URL or anything from upstream's responses, because any of these may contain a key or a phone number.

mod context;
mod export;
mod spans;

pub use context::Trace;
pub use export::{EndpointLocation, TraceSettings, Tracing, TracingError};
pub use spans::{AnswerSpan, Begun, Identifiers, RequestSpan, RequestSpanStart, Tracer};
