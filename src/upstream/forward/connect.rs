//! Opens connections for forwarding: through the proxy that the environment names, if any, and with the same
//! trusted roots as the client that reads pages.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tower::Service;

use super::socket::Socket;
use crate::upstream::client::CONNECT;
use crate::upstream::settings::{UpstreamSettings, UpstreamSetupError};

/// What the clients connect with.
pub(super) type Connector = HttpsConnector<Dial>;

/// Opens sockets.
#[derive(Clone, Debug)]
pub(super) enum Dial {
    /// To upstream itself.
    Direct(HttpConnector),
    /// Through a proxy, by `CONNECT`.
    Tunnel(Tunnel<HttpConnector>),
}

/// Sets up what connects to `base`.
pub(super) fn connector(settings: &UpstreamSettings, base: &Uri) -> Result<Connector, UpstreamSetupError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT.min(settings.attempt_timeout)));
    let is_local = settings.base_url.is_plain_loopback();
    let proxy = if is_local { None } else { Matcher::from_system().intercept(base) };
    let dial = match proxy {
        None => Dial::Direct(tcp),
        Some(proxy) => {
            let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
            Dial::Tunnel(match proxy.basic_auth() {
                Some(auth) => tunnel.with_auth(auth.clone()),
                None => tunnel,
            })
        }
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(settings)?);
    Ok(builder.https_or_http().enable_http1().wrap_connector(dial))
}

fn tls(settings: &UpstreamSettings) -> Result<ClientConfig, UpstreamSetupError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = match &settings.ca_pem {
        None => Vec::new(),
        Some(pem) => {
            let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            roots.map_err(|error| UpstreamSetupError::Ca(error.to_string()))?
        }
    };
    let fault = |error: rustls::Error| UpstreamSetupError::Client(error.to_string());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider)).map_err(fault)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(fault)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}

impl Service<Uri> for Dial {
    type Response = Socket;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Tunnel(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(target);
                Box::pin(async move { Ok(Socket::new(connecting.await?)) })
            }
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(target);
                Box::pin(async move { Ok(Socket::new(connecting.await?)) })
            }
        }
    }
}
