use std::fmt::{self, Display};
use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::Trace;
use crate::telemetry::{Answered, BodyEnding};

/// Makes spans, or none if tracing is off. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<SdkTracer>>);

/// A received request, as described when its span begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// Its method, one of HTTP's own.
    pub method: &'static str,
    /// The path's template.
    pub route: &'a str,
    /// The caller's span.
    pub caller: &'a Trace,
}

/// A request to upstream, as described when its span begins.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpanStart<'a, A> {
    /// The template of upstream's path.
    pub template: &'static str,
    /// Upstream's host and port.
    pub server: (&'a str, u16),
    /// The agent that the request is about.
    pub agent: A,
    /// The number of earlier attempts at the same request.
    pub resends: u32,
    /// The parent span.
    pub parent: &'a Trace,
}

/// The span of a response, from the request to the end of the body. Dropping it without [`Self::end`] ends it as it is.
#[derive(Debug)]
pub struct AnswerSpan {
    span: Option<Span>,
    trace: Trace,
}

/// The span of a request to upstream, from its turn to the end of the body. Dropping it ends it as it is.
#[derive(Debug)]
pub struct RequestSpan {
    span: Option<Span>,
    trace: Trace,
}

impl Tracer {
    /// Creates a tracer that makes spans.
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(Some(Arc::new(tracer)))
    }

    /// Begins the span of a response, as a child of the caller's span.
    pub fn answer(&self, begun: Begun<'_>) -> AnswerSpan {
        let Begun { method, route, caller } = begun;
        let attributes = || {
            vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("url.scheme", "http"),
            ]
        };
        let (span, trace) =
            self.begin(format_args!("{method} {route}"), SpanKind::Server, caller, attributes);
        AnswerSpan { span, trace }
    }

    /// Begins the span of a request to upstream.
    pub fn request(&self, asked: RequestSpanStart<'_, impl Display>) -> RequestSpan {
        let RequestSpanStart { template, server: (host, port), agent, resends, parent } = asked;
        let attributes = || {
            let mut all = vec![
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("url.template", template),
                KeyValue::new("server.address", host.to_owned()),
                KeyValue::new("server.port", i64::from(port)),
                KeyValue::new("fanfold.agent_id", agent.to_string()),
            ];
            if resends > 0 {
                all.push(KeyValue::new("http.request.resend_count", i64::from(resends)));
            }
            all
        };
        let (span, trace) = self.begin(format_args!("GET {template}"), SpanKind::Client, parent, attributes);
        RequestSpan { span, trace }
    }

    fn begin(
        &self,
        name: fmt::Arguments<'_>,
        kind: SpanKind,
        parent: &Trace,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> (Option<Span>, Trace) {
        let Some(tracer) = &self.0 else { return (None, parent.clone()) };
        let mut context = Context::new();
        if let Some(parent) = parent.span() {
            context = context.with_remote_span_context(parent);
        }
        let builder = tracer.span_builder(name.to_string()).with_kind(kind).with_attributes(attributes());
        let span = tracer.build_with_context(builder, &context);
        let trace = Trace::of(span.span_context());
        (Some(span), trace)
    }
}

impl AnswerSpan {
    /// The context for requests to upstream that are made for this response.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Ends the span with the result of the response. `of` identifies the request, the agent and the client.
    pub fn end(&mut self, answered: &Answered, of: Identifiers<'_, impl Display>) {
        let Some(mut span) = self.span.take().filter(Span::is_recording) else { return };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut set = |name: &'static str, value: opentelemetry::Value| {
            span.set_attribute(KeyValue::new(name, value));
        };
        set("http.response.status_code", i64::from(answered.status).into());
        set("fanfold.request_id", of.request_id.to_owned().into());
        if let Some(agent) = of.agent {
            set("fanfold.agent_id", agent.to_string().into());
        }
        if let Some(client) = of.client {
            set("fanfold.client", client.to_owned().into());
        }
        set("fanfold.format", answered.format.into());
        set("fanfold.ending", answered.ending.as_str().into());
        set("fanfold.rows", number(answered.rows).into());
        set("fanfold.rows.hit", number(answered.rows_by.hit).into());
        set("fanfold.rows.miss", number(answered.rows_by.miss).into());
        set("fanfold.rows.joined", number(answered.rows_by.joined).into());
        set("fanfold.rows.stale", number(answered.rows_by.stale).into());
        set("fanfold.upstream_requests", number(answered.upstream_requests).into());
        set("http.response.body.size", number(answered.bytes).into());
        if let Some(first_row) = answered.first_row {
            set("fanfold.time_to_first_row", first_row.as_secs_f64().into());
        }
        if answered.missing_parts > 0 {
            set("fanfold.missing_parts", number(answered.missing_parts).into());
        }
        if let Some(code) = answered.code {
            set("error.type", code.into());
        }
        // By the semantic conventions, a client's mistake is not a server error; a response that broke off is.
        if answered.status >= 500 || answered.ending == BodyEnding::Broken {
            span.set_status(Status::error(answered.code.unwrap_or("broken")));
        }
        span.end();
    }
}

/// Identifies a response.
#[derive(Clone, Copy, Debug)]
pub struct Identifiers<'a, A> {
    /// The request's identifier.
    pub request_id: &'a str,
    /// The agent, if it is known.
    pub agent: Option<A>,
    /// The name of the caller's token.
    pub client: Option<&'a str>,
}

impl RequestSpan {
    /// The trace context that is sent upstream.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Records the status that upstream returned.
    pub fn answered(&mut self, status: u16) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
    }

    /// Ends the span; `error` is the kind of failure, if there was one.
    pub fn end(&mut self, error: Option<&'static str>) {
        let Some(mut span) = self.span.take() else { return };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use opentelemetry::trace::{SpanId, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};

    use super::*;
    use crate::telemetry::Rows;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    /// Keeps exported spans.
    #[derive(Clone, Debug, Default)]
    struct KeptSpans(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for KeptSpans {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn tracer() -> (Tracer, KeptSpans) {
        let kept = KeptSpans::default();
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let builder = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).with_sampler(sampler);
        (Tracer::new(builder.build().tracer("test")), kept)
    }

    fn trace(parent: &str) -> Trace {
        Trace { parent: Some(parent.into()), state: Some("k=v".into()) }
    }

    fn begun(caller: &Trace) -> Begun<'_> {
        Begun { method: "GET", route: "/all", caller }
    }

    fn asked(parent: &Trace) -> RequestSpanStart<'_, &'static str> {
        RequestSpanStart {
            template: "/pages",
            server: ("api.example", 443),
            agent: "a-1",
            resends: 1,
            parent,
        }
    }

    fn answered() -> Answered {
        Answered {
            route: "/all".into(),
            status: 200,
            format: "json",
            duration: Duration::from_millis(20),
            first_row: None,
            rows: 7,
            bytes: 900,
            rows_by: Rows { hit: 5, miss: 2, joined: 0, stale: 0 },
            upstream_requests: 1,
            missing_parts: 0,
            ending: BodyEnding::Broken,
            code: Some("not_ready"),
        }
    }

    #[test]
    fn a_request_span_is_a_child_of_the_response_span_which_is_a_child_of_the_callers() {
        let (tracer, kept) = tracer();
        let mut answer = tracer.answer(begun(&trace(PARENT)));
        let mut request = tracer.request(asked(answer.trace()));
        let sent = request.trace().clone();
        request.answered(429);
        request.end(Some("limited"));
        answer.end(&answered(), Identifiers { request_id: "r-1", agent: Some("a-1"), client: None });
        let spans = kept.0.lock().unwrap();
        let [request, answer] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(answer.parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
        assert_eq!(request.parent_span_id, answer.span_context.span_id());
        assert_eq!(sent, Trace::of(&request.span_context));
        assert_eq!((sent.id(), sent.state.as_deref()), (trace(PARENT).id(), Some("k=v")));
        assert_eq!((&*answer.name, &*request.name), ("GET /all", "GET /pages"));
        assert!(answer.attributes.contains(&KeyValue::new("fanfold.rows.hit", 5)));
        assert!(request.attributes.contains(&KeyValue::new("http.response.status_code", 429)));
        assert_eq!(answer.status, Status::error("not_ready"));
    }

    #[test]
    fn links_unsampled_traces_without_exporting_them() {
        let (tracer, kept) = tracer();
        let answer = tracer.answer(begun(&trace(UNSAMPLED)));
        let request = tracer.request(asked(answer.trace()));
        let sent = request.trace().parent.clone().unwrap();
        assert!(sent.starts_with(&UNSAMPLED[..36]) && sent.ends_with("-00") && &*sent != UNSAMPLED, "{sent}");
        drop((request, answer));
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_dropped_span_ends() {
        let (tracer, kept) = tracer();
        drop(tracer.request(asked(&Trace::default())));
        assert_eq!(kept.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn without_a_tracer_a_context_is_forwarded_unchanged() {
        let tracer = Tracer::default();
        let answer = tracer.answer(begun(&trace(PARENT)));
        assert_eq!(*tracer.request(asked(answer.trace())).trace(), trace(PARENT));
        assert_eq!(*tracer.answer(begun(&Trace::default())).trace(), Trace::default());
    }
}
