//! Traces: a span for every answer, and one for every request upstream as its child.
//!
//! Two kinds of spans, each begun and ended in one place, and linked by a W3C context that travels with the question
//! ([`Trace`], in a turn) and not by what happens to be current on a thread: a read that many share runs in a task of its own
//! and belongs to the caller who began it. So spans are made with OpenTelemetry's own types, without a bridge from log lines.
//!
//! [`Tracing`] exports them over OTLP where the standard environment variables name a receiver. Without one a [`Tracer`] makes no
//! spans, and a caller's context goes upstream as it came.
//!
//! What a span says is a closed list, see [`spans`]: identifiers, counts, times and kinds. Never a query string, a header, a URL
//! or anything that upstream said: a caller may have put a key or a phone number anywhere.

mod context;
mod export;
mod spans;

pub use context::Trace;
pub use export::{EndpointLocation, TraceSettings, Tracing, TracingError};
pub use spans::{AnswerSpan, Begun, Identifiers, RequestSpan, RequestSpanStart, Tracer};
