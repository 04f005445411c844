use std::time::Duration;

use http::HeaderMap;

use super::fields;
use crate::engine::{CacheDirectives, Tolerance};

/// The preferences of a request (RFC 7240). Unknown and invalid ones are ignored, as the RFC demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// `handling=lenient`.
    pub(crate) tolerance: Tolerance,
    /// `wait=N`.
    pub(crate) wait: Option<Duration>,
}

impl Prefer {
    /// Reads the `Prefer` fields. If a preference is given twice, the first counts.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut prefer = Self { tolerance: Tolerance::Strict, wait: None };
        let mut has_handling = false;
        for (name, value) in fields::directives(headers, "prefer") {
            if name == "wait" && prefer.wait.is_none() {
                prefer.wait = seconds(value.as_deref());
            } else if name == "handling" && !has_handling {
                has_handling = true;
                if value.is_some_and(|v| v.eq_ignore_ascii_case("lenient")) {
                    prefer.tolerance = Tolerance::Lenient;
                }
            }
        }
        prefer
    }

    /// The preferred wait, at most `longest`.
    pub(crate) fn wait_within(&self, longest: Duration) -> Duration {
        self.wait.map_or(longest, |wait| wait.min(longest))
    }

    /// The preferences that were honored, for `Preference-Applied`.
    pub(crate) fn applied(&self, longest: Duration) -> Option<String> {
        let handling = match self.tolerance {
            Tolerance::Lenient => Some("handling=lenient".to_owned()),
            Tolerance::Strict => None,
        };
        let wait = self.wait.filter(|&wait| wait <= longest).map(|wait| format!("wait={}", wait.as_secs()));
        let applied: Vec<_> = handling.into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// The lowest `max-age` that is honored. Browsers, and `fetch(…, {cache: "no-store"})` in Node, send
/// `no-cache` with every request; polls that arrive together share one refresh.
const FRESHEST: Duration = Duration::from_secs(1);

/// Reads a request's `Cache-Control`. An invalid `max-age` counts as the lowest.
pub(crate) fn directives(headers: &HeaderMap) -> CacheDirectives {
    let mut directives = CacheDirectives::default();
    let lower = |max_age: Option<Duration>, to: Duration| Some(max_age.map_or(to, |age| age.min(to)));
    for (name, value) in fields::directives(headers, "cache-control") {
        let value = value.as_deref();
        match name.as_str() {
            "no-cache" => directives.max_age = lower(directives.max_age, FRESHEST),
            "max-age" => {
                let age = seconds(value).unwrap_or_default().max(FRESHEST);
                directives.max_age = lower(directives.max_age, age);
            }
            "no-store" => directives.no_store = true,
            "only-if-cached" => directives.only_if_cached = true,
            "max-stale" if value.is_none() => directives.max_stale = Some(MOST_SECONDS),
            "max-stale" => directives.max_stale = directives.max_stale.max(seconds(value)),
            "min-fresh" => directives.min_fresh = directives.min_fresh.max(seconds(value)),
            // Unknown directives are ignored (RFC 9111 section 5.2.3).
            _ => {}
        }
    }
    directives
}

/// The largest number of seconds that a request can name. RFC 9111 section 1.2.2 prescribes 2^31 for numbers
/// that are too large. Small enough to be added to ages and instants.
const MOST_SECONDS: Duration = Duration::from_secs(1 << 31);

/// Reads a number of seconds, at most [`MOST_SECONDS`].
fn seconds(value: Option<&str>) -> Option<Duration> {
    let digits = value.filter(|v| !v.is_empty() && v.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(digits.parse().map_or(MOST_SECONDS, Duration::from_secs).min(MOST_SECONDS))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_of_seconds_can_be_added_to_a_clock(digits in "[0-9]{0,40}") {
            let now = (tokio::time::Instant::now(), std::time::Instant::now());
            let header = HeaderValue::try_from(format!("wait={digits}, min-fresh={digits}, max-stale={digits}")).unwrap();
            let headers = ["prefer", "cache-control"]
                .map(|name| (http::HeaderName::from_static(name), header.clone()))
                .into_iter()
                .collect();
            let directives = directives(&headers);
            for length in [Prefer::read(&headers).wait, directives.min_fresh, directives.max_stale].into_iter().flatten() {
                prop_assert!(length <= MOST_SECONDS);
                let _does_not_panic = (now.0 + length + length, now.1 + length + length);
            }
        }
    }

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|&v| (http::HeaderName::from_static(name), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn reads_preferences_in_any_spelling() {
        let expected = Prefer { tolerance: Tolerance::Lenient, wait: Some(Duration::from_secs(10)) };
        for values in [
            &["handling=lenient, wait=10"][..],
            &["Wait=10", "HANDLING=\"lenient\"; x=y"],
            &["respond-async, wait = 10 , handling=lenient;"],
        ] {
            assert_eq!(Prefer::read(&headers("prefer", values)), expected, "{values:?}");
        }
    }

    #[test]
    fn ignores_invalid_preferences() {
        let prefer = Prefer::read(&headers("prefer", &["wait=soon, handling=strict, ;;="]));
        assert_eq!(prefer, Prefer { tolerance: Tolerance::Strict, wait: None });
        assert_eq!(prefer.applied(Duration::MAX), None);
    }

    #[test]
    fn a_wait_lowers_the_deadline_and_never_raises_it() {
        let prefer = Prefer::read(&headers("prefer", &["wait=10, handling=lenient"]));
        let (short, long) = (Duration::from_secs(5), Duration::from_secs(50));
        assert_eq!(prefer.wait_within(short), short);
        assert_eq!(prefer.wait_within(long), Duration::from_secs(10));
        assert_eq!(prefer.applied(long).as_deref(), Some("handling=lenient, wait=10"));
        assert_eq!(prefer.applied(short).as_deref(), Some("handling=lenient"));
    }

    #[test]
    fn reads_cache_directives() {
        let read = |value| directives(&headers("cache-control", &[value]));
        assert_eq!(read("no-cache").max_age, Some(FRESHEST));
        assert_eq!(read("no-cache, max-age=60").max_age, Some(FRESHEST));
        assert_eq!(read("max-age=0").max_age, Some(FRESHEST));
        assert_eq!(read("max-age=30, no-cache").max_age, Some(FRESHEST));
        assert_eq!(read("max-age=30").max_age, Some(Duration::from_secs(30)));
        assert_eq!(read("max-age=x").max_age, Some(FRESHEST));
        assert_eq!(read("max-age=99999999999999999999").max_age, Some(MOST_SECONDS));
        assert_eq!(read("max-stale").max_stale, Some(MOST_SECONDS));
        assert_eq!(read("Max-Stale=\"60\"").max_stale, Some(Duration::from_secs(60)));
        assert_eq!(read("min-fresh=5").min_fresh, Some(Duration::from_secs(5)));
        assert!(read("only-if-cached").only_if_cached && read("no-store").no_store);
        assert_eq!(read("private, stale-if-error=3"), CacheDirectives::default());
    }
}
