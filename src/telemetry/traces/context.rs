use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The longest `tracestate` that is passed on. The specification asks for at least 512 characters.
const MAX_STATE: usize = 1024;

/// A W3C trace context: the parent of a request, and what tracing systems have added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The `traceparent` header.
    pub parent: Option<Arc<str>>,
    /// The `tracestate` header.
    pub state: Option<Arc<str>>,
}

impl Trace {
    /// Reads the context of a request. A malformed one is ignored, so that a new trace begins, as the specification requires.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all("traceparent").iter();
        let parent = match (parents.next().and_then(|value| value.to_str().ok()), parents.next()) {
            (Some(text), None) if is_parent(text) => text,
            _ => return Self::default(),
        };
        let states: Vec<_> = headers.get_all("tracestate").iter().filter_map(|v| v.to_str().ok()).collect();
        let state = states.join(",");
        let is_valid = !state.is_empty() && state.len() <= MAX_STATE && state.contains('=');
        Self { parent: Some(parent.into()), state: is_valid.then(|| state.into()) }
    }

    /// The trace's identifier, which links log lines and spans.
    pub fn id(&self) -> Option<&str> {
        self.parent.as_deref()?.split('-').nth(1)
    }

    /// The context that children of this span get.
    pub(super) fn of(span: &SpanContext) -> Self {
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        let parent = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), flags.to_u8());
        let state = span.trace_state().header();
        Self { parent: Some(parent.into()), state: (!state.is_empty()).then(|| state.into()) }
    }

    /// The span that the context names, in this process or another one.
    pub(super) fn span(&self) -> Option<SpanContext> {
        let mut parts = self.parent.as_deref()?.split('-').skip(1);
        let trace = TraceId::from_hex(parts.next()?).ok()?;
        let span = SpanId::from_hex(parts.next()?).ok()?;
        let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?) & TraceFlags::SAMPLED;
        let state = self.state.as_deref().and_then(|state| state.parse::<TraceState>().ok());
        Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default()))
    }
}

/// Whether a text is `{version}-{trace}-{span}-{flags}` in lowercase hex, with neither identifier all zeros. Future versions
/// may have more fields.
fn is_parent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
    let parts: Vec<_> = text.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &parts[..] else { return false };
    is_hex(version, 2)
        && *version != "ff"
        && is_id(trace, 32)
        && is_id(span, 16)
        && is_hex(flags, 2)
        && (more.is_empty() || *version != "00")
        && text.len() <= 256
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(parent: &str, state: &'static str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
        headers.insert("tracestate", HeaderValue::from_static(state));
        Trace::read(&headers)
    }

    #[test]
    fn forwards_a_valid_context_unchanged() {
        let trace = trace(PARENT, "rojo=00f067aa0ba902b7");
        assert_eq!(trace.parent.as_deref(), Some(PARENT));
        assert_eq!(trace.state.as_deref(), Some("rojo=00f067aa0ba902b7"));
    }

    #[test]
    fn converts_contexts_to_spans_and_back() {
        let trace = trace(PARENT, "rojo=00f067aa0ba902b7");
        assert_eq!(trace.id(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(Trace::of(&trace.span().unwrap()), trace);
        assert!(Trace::default().span().is_none());
    }

    #[test]
    fn drops_a_malformed_context_with_its_state() {
        for parent in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            let trace = trace(parent, "a=b");
            assert!(trace.parent.is_none() && trace.state.is_none(), "{parent}");
        }
        assert!(trace(&PARENT.replacen("00", "01", 1), "").parent.is_some());
    }
}
