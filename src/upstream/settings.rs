use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use reqwest::Url;

/// The settings of [`super::Upstream`]; see the flags of `serve`.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The base URL; its path is a prefix of every requested path.
    pub base_url: BaseUrl,
    /// Additional trusted root certificates (PEM).
    pub ca_pem: Option<Vec<u8>>,
    /// How long one attempt may take, from the connection to the end of the body.
    pub attempt_timeout: Duration,
    /// The maximum rate of requests; `None` for no limit.
    pub rate: Option<Rate>,
    /// Who shares the rate.
    pub rate_scope: RateScope,
    /// The maximum number of requests in flight.
    pub concurrency: NonZeroUsize,
    /// The share of the budget that cold reads leave to refreshes.
    pub refresh_reserve: Fraction,
    /// Whether upstream takes dates.
    pub dates: DateParams,
}

/// A maximum number of requests in any span of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests.
    pub count: NonZeroU32,
    /// The length of the span.
    pub per: Duration,
}

/// For whom upstream counts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateScope {
    /// One budget for the process.
    Shared,
    /// One budget for each credential.
    Credential,
}

/// Whether `from` and `to` are sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateParams {
    /// Both, with every page.
    Sent,
    /// Neither, for an upstream without dates (`--window none`).
    LeftOut,
}

/// A fraction from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// A number of hundredths; `None` above a hundred.
    pub fn percent(percent: u8) -> Option<Self> {
        (percent <= 100).then(|| Self(f64::from(percent) / 100.0))
    }

    /// This fraction of a count, rounded down.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is between zero and the count"
    )]
    pub(crate) fn of(self, count: usize) -> usize {
        (self.0 * count as f64) as usize
    }
}

/// Where a credential may go without encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only to this machine itself.
    LoopbackOnly,
    /// Anywhere (`--upstream-insecure`).
    Anywhere,
}

/// Where upstream is.
///
/// # Invariants
/// `https`, or plain `http` where [`PlainHttp`] allows it; no user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why these settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// The text is not a usable URL.
    #[error("the upstream URL is not usable: {0}")]
    Url(String),
    /// A credential would be sent unencrypted.
    #[error(
        "the upstream URL is plain http and {host} is not this machine, so credentials would be sent unencrypted; \
         use https, or allow it with --upstream-insecure"
    )]
    PlainHttp {
        /// The host that it would be sent to.
        host: String,
    },
    /// The additional roots can't be read.
    #[error("the upstream CA file has no usable PEM certificates: {0}")]
    Ca(String),
    /// The HTTP client can't be created.
    #[error("the HTTP client can't be set up: {0}")]
    Client(String),
}

impl BaseUrl {
    /// Parses and validates a base URL; a trailing slash is ignored.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Result<Self, UpstreamSetupError> {
        let fault = |what: &str| Err(UpstreamSetupError::Url(what.to_owned()));
        let url = Url::parse(text.trim()).map_err(|e| UpstreamSetupError::Url(e.to_string()))?;
        let Some(host) = url.host_str() else { return fault("it has no host") };
        if !url.username().is_empty() || url.password().is_some() {
            return fault("it contains a user or a password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return fault("it has a query or a fragment");
        }
        match (url.scheme(), plain_http) {
            ("https", _) | ("http", PlainHttp::Anywhere) => {}
            ("http", PlainHttp::LoopbackOnly) if is_loopback(host) => {}
            ("http", PlainHttp::LoopbackOnly) => {
                return Err(UpstreamSetupError::PlainHttp { host: host.to_owned() });
            }
            _ => return fault("it is neither https nor http"),
        }
        Ok(Self(url))
    }

    /// The URL of a path below the base. The segments are escaped.
    pub(crate) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The URL as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The server: host and port.
    pub(crate) fn server(&self) -> (&str, u16) {
        (self.0.host_str().unwrap_or_default(), self.0.port_or_known_default().unwrap_or_default())
    }

    /// Whether requests are unencrypted and stay on this machine. They must not go through a proxy, because they
    /// would leave the machine unencrypted on the way to it.
    pub(crate) fn is_plain_loopback(&self) -> bool {
        self.0.scheme() == "http" && self.0.host_str().is_some_and(is_loopback)
    }
}

/// Whether a host, as written in a URL, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost") || bare.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_allowed_only_to_loopback() {
        for text in
            ["http://api.bolna.ai", "http://10.0.0.1", "http://localhost.evil.org", "http://[2001:db8::1]"]
        {
            let error = BaseUrl::parse(text, PlainHttp::LoopbackOnly).unwrap_err();
            assert!(matches!(error, UpstreamSetupError::PlainHttp { .. }), "{text}");
            assert!(BaseUrl::parse(text, PlainHttp::Anywhere).is_ok(), "{text}");
        }
        for text in
            ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:80", "http://localhost/x", "https://h"]
        {
            assert!(BaseUrl::parse(text, PlainHttp::LoopbackOnly).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_unusable_urls() {
        for text in
            ["", "api.bolna.ai", "ftp://h", "https://u:p@h", "https://h?x=1", "https://h#f", "unix:/x"]
        {
            let error = BaseUrl::parse(text, PlainHttp::Anywhere).unwrap_err();
            assert!(matches!(error, UpstreamSetupError::Url(_)), "{text}");
        }
    }

    #[test]
    fn keeps_a_path_prefix_and_ignores_a_trailing_slash() {
        for (base, joined) in [
            ("https://h", "https://h/v2/agent"),
            ("https://h/", "https://h/v2/agent"),
            ("https://h/bolna", "https://h/bolna/v2/agent"),
            ("https://h/bolna/", "https://h/bolna/v2/agent"),
        ] {
            let base = BaseUrl::parse(base, PlainHttp::LoopbackOnly).unwrap();
            assert_eq!(base.join(&["v2", "agent"]).as_str(), joined);
        }
    }

    #[test]
    fn fractions_are_rounded_down_and_at_most_one() {
        assert_eq!(Fraction::percent(101), None);
        assert_eq!(Fraction::percent(20).unwrap().of(450), 90);
        assert_eq!(Fraction::percent(20).unwrap().of(4), 0);
        assert_eq!(Fraction::percent(100).unwrap().of(7), 7);
    }
}
