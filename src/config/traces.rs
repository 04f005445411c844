//! Reads the standard variables of OpenTelemetry that decide whether and where traces are exported.
//!
//! They are not fanfold's own settings: a cluster may give the same variables to every container. A variable that can't be
//! honored is therefore a warning and not a fault, as the specification requires. OpenTelemetry's library reads the other
//! variables itself; see [`TraceSettings`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use reqwest::Url;

use crate::telemetry::{EndpointLocation, TraceSettings};
use crate::upstream::is_loopback;

/// The result of reading the variables.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// Where traces are sent, if anywhere.
    pub(super) settings: Option<TraceSettings>,
    /// The variables that are not honored.
    pub(super) warnings: Vec<String>,
}

/// The default timeout, from the specification of the OTLP exporter.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default endpoint, from the specification.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// The path of spans under an endpoint for all signals.
const SIGNAL_PATH: &str = "v1/traces";

/// The samplers that the library supports.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Reads the variables whose names begin with `OTEL_`.
pub(super) fn read(variables: &[(OsString, OsString)]) -> Traces {
    let given = variables.iter().filter_map(|(name, value)| {
        let (name, value) = (name.to_str()?, value.to_str()?.trim());
        (name.starts_with("OTEL_") && !value.is_empty()).then_some((name, value))
    });
    Variables { given: given.collect(), warnings: Vec::new() }.read()
}

struct Variables<'a> {
    given: BTreeMap<&'a str, &'a str>,
    warnings: Vec<String>,
}

impl<'a> Variables<'a> {
    fn read(mut self) -> Traces {
        let settings = if self.is_wanted() { self.settings() } else { None };
        Traces { settings, warnings: self.warnings }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.given.get(name).copied()
    }

    /// The variable whose name has this end: the one for traces only, otherwise the one for all signals.
    fn exporter(&self, end: &str) -> Option<(String, &'a str)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
            .map(|start| format!("{start}{end}"))
            .into_iter()
            .find_map(|name| Some((name.clone(), self.get(&name)?)))
    }

    fn warn(&mut self, name: &str, problem: &str) {
        self.warnings.push(format!("{name}: {problem}"));
    }

    fn is_wanted(&mut self) -> bool {
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return false;
        }
        let exporters = self.get("OTEL_TRACES_EXPORTER").map(|list| list.split(',').map(str::trim));
        let Some(exporters) = exporters else { return self.exporter("ENDPOINT").is_some() };
        let exporters: Vec<_> = exporters.collect();
        if exporters.iter().any(|exporter| !matches!(*exporter, "otlp" | "none")) {
            self.warn("OTEL_TRACES_EXPORTER", "only otlp is supported");
        }
        exporters.contains(&"otlp")
    }

    fn settings(&mut self) -> Option<TraceSettings> {
        let endpoint = self.endpoint()?;
        let place = if endpoint.host_str().is_some_and(is_loopback) {
            EndpointLocation::Loopback
        } else {
            EndpointLocation::Network
        };
        if endpoint.scheme() == "http"
            && place == EndpointLocation::Network
            && self.exporter("HEADERS").is_some()
        {
            self.warn("OTEL_EXPORTER_OTLP_HEADERS", "credentials in these headers are sent over plain http");
        }
        if let Some((name, protocol)) = self.exporter("PROTOCOL")
            && protocol != "http/protobuf"
        {
            self.warn(&name, "only http/protobuf is supported; traces are sent in that format");
        }
        for end in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            if let Some((name, _)) = self.exporter(end) {
                self.warn(&name, "client certificates are not supported");
            }
        }
        self.check_sampler();
        if self.get("OTEL_PROPAGATORS").is_some_and(|list| !list.contains("tracecontext")) {
            self.warn("OTEL_PROPAGATORS", "only W3C tracecontext is supported");
        }
        let is_named = self.get("OTEL_SERVICE_NAME").is_some()
            || self.get("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|list| list.contains("service.name="));
        Some(TraceSettings {
            endpoint,
            ca_pem: self.ca_pem(),
            timeout: self.timeout(),
            default_name: (!is_named).then_some("fanfold"),
            place,
        })
    }

    fn endpoint(&mut self) -> Option<Url> {
        let (name, text, is_whole) = match self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(text) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text, true),
            None => {
                let text = self.get("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT);
                ("OTEL_EXPORTER_OTLP_ENDPOINT", text, false)
            }
        };
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(mut url) = url else {
            self.warn(name, "not an http or https URL; no traces are exported");
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.warn(name, "contains a user or a password; use OTEL_EXPORTER_OTLP_HEADERS for them. No traces are exported");
            return None;
        }
        if !is_whole && let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(SIGNAL_PATH.split('/'));
        }
        Some(url)
    }

    fn timeout(&mut self) -> Duration {
        let Some((name, text)) = self.exporter("TIMEOUT") else { return DEFAULT_TIMEOUT };
        text.parse().map(Duration::from_millis).unwrap_or_else(|_| {
            self.warn(&name, "not a number of milliseconds; 10000 is used");
            DEFAULT_TIMEOUT
        })
    }

    fn ca_pem(&mut self) -> Option<Vec<u8>> {
        let (name, file) = self.exporter("CERTIFICATE")?;
        match std::fs::read(file) {
            Ok(pem) => Some(pem),
            Err(error) => {
                self.warn(&name, &format!("the file can't be read: {error}"));
                None
            }
        }
    }

    fn check_sampler(&mut self) {
        let Some(sampler) = self.get("OTEL_TRACES_SAMPLER") else { return };
        if !SAMPLERS.contains(&sampler) {
            self.warn("OTEL_TRACES_SAMPLER", "no such sampler; parentbased_always_on is used");
        } else if sampler.ends_with("traceidratio") {
            let ratio = self.get("OTEL_TRACES_SAMPLER_ARG").and_then(|text| text.parse::<f64>().ok());
            if !ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) {
                self.warn("OTEL_TRACES_SAMPLER_ARG", "not a number from 0 to 1; all traces are sampled");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(variables: &[(&str, &str)]) -> Traces {
        let variables: Vec<_> =
            variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
        read(&variables)
    }

    fn endpoint(variables: &[(&str, &str)]) -> Option<String> {
        traces(variables).settings.map(|settings| settings.endpoint.to_string())
    }

    #[test]
    fn exports_traces_only_to_the_configured_endpoint() {
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");
        assert_eq!(endpoint(&[all]).as_deref(), Some("http://collector:4318/base/v1/traces"));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/x");
        assert_eq!(endpoint(&[all, own]).as_deref(), Some("https://t.example/x"));
        assert_eq!(
            endpoint(&[("OTEL_TRACES_EXPORTER", "otlp")]).as_deref(),
            Some("http://localhost:4318/v1/traces")
        );
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint(&[all, off]), None);
        }
    }

    #[test]
    fn warns_about_variables_that_are_not_honored() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for odd in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_PROPAGATORS", "b3"),
        ] {
            let traces = traces(&[endpoint, odd]);
            assert!(traces.settings.is_some() && traces.warnings.len() == 1, "{odd:?} {:?}", traces.warnings);
            assert!(traces.warnings[0].starts_with("OTEL_") && !traces.warnings[0].contains("secret"));
        }
        assert_eq!(traces(&[endpoint]).warnings.len(), 0);
    }

    #[test]
    fn an_unusable_endpoint_turns_traces_off() {
        for text in ["collector:4318", "grpc://collector", "http://user:secret@collector"] {
            let traces = traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", text)]);
            assert!(traces.settings.is_none() && traces.warnings.len() == 1, "{text}");
            assert!(!traces.warnings[0].contains("secret"));
        }
    }

    #[test]
    fn the_service_name_defaults_to_the_programs_name() {
        let name = |more: &[(&str, &str)]| {
            let all = [&[("OTEL_TRACES_EXPORTER", "otlp")], more].concat();
            traces(&all).settings.unwrap().default_name
        };
        assert_eq!(name(&[]), Some("fanfold"));
        assert_eq!(name(&[("OTEL_SERVICE_NAME", "gate")]), None);
        assert_eq!(name(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=gate")]), None);
    }
}
