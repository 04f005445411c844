//! Parsers for the values of settings: lengths, bytes, rates, shares and so on.
//!
//! Each parser returns the value, or a description of what is accepted, to which the reader adds the name of the flag.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::domain::{Rounding, Timestamp, parse_length};
use crate::http::Forwarding;
use crate::telemetry::LogFormat;
use crate::upstream::{Fraction, Rate, RateScope};

/// The value, or what is accepted instead.
pub(crate) type Parsed<T> = Result<T, String>;

/// The units of bytes.
const BYTE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];

/// Parses an integer in plain digits: no sign, space or underscore.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Parses a length, or a range of two lengths with `..` between them, the shorter first.
pub(crate) fn length_range(text: &str) -> Parsed<(Duration, Duration)> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    match (length_or_zero(least), length_or_zero(most)) {
        (Ok(least), Ok(most)) if least <= most => Ok((least, most)),
        _ => Err("a length, or two as in 40ms..120ms, the shorter first".to_owned()),
    }
}

/// Parses a length that may be zero.
pub(crate) fn length_or_zero(text: &str) -> Parsed<Duration> {
    parse_length(text).ok_or_else(|| "an integer and ms, s, m, h or d, up to 3650d, such as 10s".to_owned())
}

/// Parses a length greater than zero.
pub(crate) fn length(text: &str) -> Parsed<Duration> {
    length_or_zero(text)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "an integer above 0 and ms, s, m, h or d, up to 3650d, such as 10s".to_owned())
}

/// Parses a size in bytes.
pub(crate) fn bytes(text: &str) -> Parsed<u64> {
    let product = |(unit, factor): &(&str, u64)| digits(text.strip_suffix(unit)?)?.checked_mul(*factor);
    BYTE_UNITS
        .iter()
        .find_map(product)
        .ok_or_else(|| "an integer, alone or with KiB, MiB or GiB, such as 512MiB".to_owned())
}

/// Parses a rate; `0` is `None`.
pub(crate) fn rate(text: &str) -> Parsed<Option<Rate>> {
    let accepted = || "an integer above 0 and /s or /min, such as 450/min, or 0 for no limit".to_owned();
    if text == "0" {
        return Ok(None);
    }
    let (number, per) = match text.split_once('/') {
        Some((number, "s")) => (number, Duration::from_secs(1)),
        Some((number, "min")) => (number, Duration::from_secs(60)),
        _ => return Err(accepted()),
    };
    let count = digits(number).and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
    count.map(|count| Some(Rate { count, per })).ok_or_else(accepted)
}

/// Parses a share.
pub(crate) fn share(text: &str) -> Parsed<Fraction> {
    text.strip_suffix('%')
        .and_then(digits)
        .and_then(|percent| u8::try_from(percent).ok())
        .filter(|percent| *percent < 100)
        .and_then(Fraction::percent)
        .ok_or_else(|| "a percentage from 0% to 99%, such as 20%".to_owned())
}

/// Parses the widest span that is requested; `none` is `None`.
pub(crate) fn window(text: &str) -> Parsed<Option<Duration>> {
    /// The narrowest window: spans are cut at whole seconds.
    const NARROWEST: Duration = Duration::from_secs(2);
    if text == "none" {
        return Ok(None);
    }
    length(text)
        .ok()
        .filter(|width| *width >= NARROWEST)
        .map(Some)
        .ok_or_else(|| "a length from 2s to 3650d, such as 7d, or none".to_owned())
}

/// Parses a count of at least one.
pub(crate) fn count(text: &str) -> Parsed<usize> {
    /// The largest count; more is a typing error.
    const MOST: u64 = 1_000_000;
    digits(text)
        .filter(|n| (1..=MOST).contains(n))
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| format!("an integer from 1 to {MOST}"))
}

/// Parses any integer.
pub(crate) fn number(text: &str) -> Parsed<u64> {
    digits(text).ok_or_else(|| format!("an integer from 0 to {}", u64::MAX))
}

/// Parses true or false.
pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// Parses an address to listen on.
pub(crate) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| "an IP address and a port, such as 0.0.0.0:8080 or [::]:8080".to_owned())
}

/// Parses a base URL of upstream: http or https, a host, optionally a port and a path, and nothing else.
pub(crate) fn url(text: &str) -> Parsed<Url> {
    let accepted = "an http or https URL without user, query or fragment, such as https://api.bolna.ai";
    let url = Url::parse(text).map_err(|_| accepted.to_owned())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(url) } else { Err(accepted.to_owned()) }
}

/// Parses a user name.
pub(crate) fn user(text: &str) -> Parsed<String> {
    let is_name = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_name { Ok(text.to_owned()) } else { Err("a user name without spaces".to_owned()) }
}

/// Parses an origin as browsers send it (scheme, host and port), or `*` for any.
pub(crate) fn origin(text: &str) -> Parsed<String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    // Browsers send no path, not even `/`, and no default port. Any other origin would never match.
    match url.map(|url| url.origin().ascii_serialization()) {
        Some(serialized) if serialized == text => Ok(serialized),
        _ => Err("an origin as browsers write it, such as https://dashboard.example.com, or *".to_owned()),
    }
}

/// Parses an instant.
pub(crate) fn instant(text: &str) -> Parsed<Timestamp> {
    Timestamp::parse(text, Rounding::Up)
        .ok_or_else(|| "an RFC 3339 date and time, such as 2024-01-01T00:00:00Z".to_owned())
}

/// Parses the path of a file.
pub(crate) fn file(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("the path of a file".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// Parses the scope of a budget.
pub(crate) fn rate_scope(text: &str) -> Parsed<RateScope> {
    match text {
        "shared" => Ok(RateScope::Shared),
        "credential" => Ok(RateScope::Credential),
        _ => Err("shared or credential".to_owned()),
    }
}

/// Parses which of upstream's other paths to forward.
pub(crate) fn forwarding(text: &str) -> Parsed<Forwarding> {
    match text {
        "none" => Ok(Forwarding::None),
        "reads" => Ok(Forwarding::Reads),
        "all" => Ok(Forwarding::All),
        _ => Err("none, reads or all".to_owned()),
    }
}

/// Parses the format of log lines.
pub(crate) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

/// Validates which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`.
pub(crate) fn log_filter(text: &str) -> Parsed<String> {
    let accepted = || "a level (error, warn, info, debug, trace), or target=level and commas".to_owned();
    // The library takes any other word for a target, which would turn off nearly all logging.
    let is_level =
        |word: &str| !word.is_empty() && word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_valid = |part: &str| is_level(part) || part.contains(['=', '[']) || part.contains("::");
    if text.split(',').map(str::trim).all(is_valid)
        && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
    {
        Ok(text.to_owned())
    } else {
        Err(accepted())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_a_log_filter_that_is_not_a_level() {
        for text in ["info", "DEBUG", "warn,fanfold::http=debug", "fanfold::engine", "off"] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for text in ["loud", "inof", "info,verbose", "", "fanfold=loud"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_number_times_unit(number in 0u64..(1 << 34), unit in 0usize..4) {
            let (name, factor) = BYTE_UNITS[unit];
            prop_assert_eq!(bytes(&format!("{number}{name}")), Ok(number * factor));
        }

        #[test]
        fn parses_rates(number in 1u32.., per_second in any::<bool>()) {
            let (unit, seconds) = if per_second { ("s", 1) } else { ("min", 60) };
            let read = rate(&format!("{number}/{unit}")).ok().flatten();
            let read = read.map(|rate| (rate.count.get(), rate.per));
            prop_assert_eq!(read, Some((number, Duration::from_secs(seconds))));
        }

        #[test]
        fn a_share_is_below_100_percent(percent in 0u64..300) {
            let read = share(&format!("{percent}%")).ok();
            let expected = u8::try_from(percent).ok().filter(|percent| *percent < 100);
            prop_assert_eq!(read, expected.and_then(Fraction::percent));
        }

        #[test]
        fn no_parser_panics(text in "\\PC{0,24}|[0-9]{1,30}(ms|s|m|h|d|KiB|GiB|/s|%)?") {
            let _ = (length(&text), bytes(&text), rate(&text), share(&text), window(&text), count(&text));
            let _ = (url(&text), origin(&text), instant(&text), address(&text), number(&text));
        }
    }

    #[test]
    fn accepts_a_zero_length_only_where_it_is_meaningful() {
        assert!(length("0s").is_err());
        assert_eq!(length_or_zero("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_range_of_lengths_has_the_shorter_length_first() {
        let millis = Duration::from_millis;
        assert_eq!(length_range("40ms..120ms"), Ok((millis(40), millis(120))));
        assert_eq!(length_range("1s"), Ok((millis(1000), millis(1000))));
        assert!(length_range("2s..1s").is_err() && length_range("1s..").is_err());
    }

    #[test]
    fn the_window_is_at_least_two_seconds() {
        assert_eq!(window("none"), Ok(None));
        assert_eq!(window("7d"), Ok(Some(Duration::from_secs(7 * 86_400))));
        assert!(window("1s").is_err());
        assert!(window("0s").is_err());
    }

    #[test]
    fn a_rate_of_zero_means_no_limit() {
        assert_eq!(rate("0"), Ok(None));
        for text in ["0/s", "5", "5/h", "5/m", "/s", "5/", "-5/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_url_with_a_user_query_or_fragment() {
        assert!(url("https://api.bolna.ai").is_ok());
        assert!(url("http://127.0.0.1:8081/base/").is_ok());
        for text in
            ["api.bolna.ai", "ftp://x", "https://u:p@x", "https://u@x", "https://x?a=b", "https://x#a"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn accepts_origins_only_as_browsers_send_them() {
        assert_eq!(origin("https://a.example:8443"), Ok("https://a.example:8443".to_owned()));
        for text in
            ["", "null", "https://a.example/", "https://a.example:443", "HTTPS://a.example", "a.example"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
