use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::{Certificate, Client, Url, redirect};
use tokio::runtime::Handle;

use super::Tracer;
use crate::telemetry::with_causes;

/// The most bytes of a receiver's response that are read. A valid one takes a few bytes: how many spans were accepted.
const MOST_ANSWER: usize = 64 << 10;

/// Where spans are sent, from the standard environment variables.
///
/// The library itself reads the others: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
/// `OTEL_TRACES_SAMPLER_ARG`, `OTEL_EXPORTER_OTLP_HEADERS` and `_COMPRESSION`, `OTEL_BSP_…` and `OTEL_SPAN_…_LIMIT`.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The receiver's URL for spans, without user and password.
    pub endpoint: Url,
    /// Additional trusted root certificates (PEM).
    pub ca_pem: Option<Vec<u8>>,
    /// How long the receiver may take to respond.
    pub timeout: Duration,
    /// The service's name; `None` if the environment gives one.
    pub default_name: Option<&'static str>,
    /// Whether the receiver is on this machine, where no proxy must be used.
    pub place: EndpointLocation,
}

/// Whether spans leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointLocation {
    /// They stay on it.
    Loopback,
    /// They leave it.
    Network,
}

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TracingError(String);

/// Exports spans in batches on a separate thread. Dropping it loses waiting spans; [`Self::flush`] sends them.
#[derive(Clone, Debug, Default)]
pub struct Tracing(Option<SdkTracerProvider>);

impl Tracing {
    /// Starts exporting, with connections on this runtime.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn start(settings: &TraceSettings, runtime: Handle) -> Result<Self, TracingError> {
        let say = |error: &dyn std::fmt::Display| TracingError(error.to_string());
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
        let resource = match settings.default_name {
            Some(name) => resource.with_service_name(name),
            None => resource,
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(settings.timeout)
            .with_http_client(Receiver::new(settings, runtime)?)
            .build()
            .map_err(|error| say(&error))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// The tracer that makes the spans.
    pub fn tracer(&self) -> Tracer {
        let scope = InstrumentationScope::builder("fanfold").with_version(VERSION).build();
        self.0
            .as_ref()
            .map_or_else(Tracer::default, |provider| Tracer::new(provider.tracer_with_scope(scope)))
    }

    /// Sends waiting spans and stops. Blocks for at most this long.
    pub fn flush(&self, within: Duration) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown_with_timeout(within)
        {
            tracing::warn!(target: "fanfold::traces", %error, "The last spans could not be exported: {error}.");
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sends batches to the receiver, on a runtime. The library calls it from a thread without one.
#[derive(Debug)]
struct Receiver {
    client: Client,
    runtime: Handle,
    is_failing: Arc<AtomicBool>,
}

impl Receiver {
    fn new(settings: &TraceSettings, runtime: Handle) -> Result<Self, TracingError> {
        let say = |error: reqwest::Error| TracingError(error.without_url().to_string());
        let mut builder = Client::builder()
            .user_agent(concat!("fanfold/", env!("CARGO_PKG_VERSION")))
            // The headers may contain a credential for the receiver.
            .redirect(redirect::Policy::none())
            .timeout(settings.timeout);
        if let Some(pem) = &settings.ca_pem {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(say)?);
        }
        if settings.place == EndpointLocation::Loopback {
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build().map_err(say)?, runtime, is_failing: Arc::default() })
    }
}

impl HttpClient for Receiver {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (client, is_failing) = (self.client.clone(), Arc::clone(&self.is_failing));
        // The library's thread awaits this and ends with a flush, so a drain need not wait for it.
        let sent = self.runtime.spawn(async move {
            let sent = send(&client, request).await;
            log_change(&is_failing, &sent);
            sent
        });
        Box::pin(async move { Ok(sent.await??) })
    }
}

async fn send(client: &Client, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    let mut response = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > MOST_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = Response::new(body.into());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

/// Logs the first failure and the first success after it, instead of a line every few seconds while a receiver is down.
fn log_change(is_failing: &AtomicBool, sent: &Result<Response<Bytes>, reqwest::Error>) {
    let failure = match sent {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("the receiver responded with {}", answer.status())),
        Err(error) => Some(with_causes(&error.to_string(), error)),
    };
    let was_failing = is_failing.swap(failure.is_some(), Ordering::Relaxed);
    match failure {
        Some(error) if !was_failing => {
            tracing::warn!(target: "fanfold::traces", error, "Traces can't be exported: {error}. Spans are lost until the export works again.");
        }
        None if was_failing => tracing::info!(target: "fanfold::traces", "Traces are exported again."),
        Some(_) | None => {}
    }
}
