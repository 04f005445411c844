//! Traces: a span for every response, and a child span for every request to upstream.
//!
//! Each kind of span is begun and ended in one place. They are linked by a W3C context ([`Trace`]) that travels with the
//! question, and not by the current span of a thread, because a shared read runs in a task of its own and belongs to the
//! caller that started it. Therefore spans are made with OpenTelemetry's own types, without a bridge from log lines.
//!
//! [`Tracing`] exports spans over OTLP if the standard environment variables name a receiver. Without one, a [`Tracer`]
//! makes no spans, and a caller's context goes upstream unchanged.
//!
//! The attributes of spans are a closed list, see [`spans`]: identifiers, counts, times and kinds. They never contain a query
//! string, a header, a URL or anything that upstream said, because a caller may have put a key or a phone number anywhere.

mod context;
mod export;
mod spans;

pub use context::Trace;
pub use export::{EndpointLocation, TraceSettings, Tracing, TracingError};
pub use spans::{AnswerSpan, Begun, Identifiers, RequestSpan, RequestSpanStart, Tracer};
