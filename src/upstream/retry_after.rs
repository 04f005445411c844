use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest pause that is honored.
///
/// Upstream counts by the minute, so a useful pause is not longer. An hour or a year in the header is a
/// mistake that must not stop the gateway.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause that a response asks for (RFC 9110 section 10.2.3): seconds or a date.
///
/// A date is measured from the response's own `Date`, so that the difference between the clocks does not
/// matter, or from `now_micros` (since 1970) without one. An invalid or past value asks for nothing.
pub(super) fn read(headers: &HeaderMap, now_micros: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let length = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number too large to parse exceeds the maximum.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let now = date(headers).unwrap_or(now_micros);
        let micros = http_date_micros(text)?.saturating_sub(now);
        Duration::from_micros(u64::try_from(micros).ok()?)
    };
    (!length.is_zero()).then(|| length.min(LONGEST))
}

/// A response's `Date`, in microseconds since 1970.
pub(super) fn date(headers: &HeaderMap) -> Option<i64> {
    http_date_micros(headers.get(DATE)?.to_str().ok()?.trim())
}

/// Parses the format that RFC 9110 requires of senders (`Sun, 06 Nov 1994 08:49:37 GMT`). The two obsolete
/// formats are ignored, because no current server writes them.
fn http_date_micros(text: &str) -> Option<i64> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok().map(jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06T08:49:37Z.
    const NOW: i64 = 784_111_777_000_000;

    fn asked(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        read(&headers, NOW)
    }

    #[test]
    fn reads_seconds_and_dates() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:57 GMT"), Some(Duration::from_secs(20)));
    }

    #[test]
    fn measures_a_date_from_the_responses_own() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:57 GMT"));
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:55 GMT"));
        assert_eq!(read(&headers, NOW), Some(Duration::from_secs(2)));
    }

    #[test]
    fn ignores_invalid_values() {
        for text in ["", "0", "-5", "1.5", "soon", "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov", "+3"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(read(&HeaderMap::new(), NOW), None);
    }

    #[test]
    fn caps_absurd_lengths() {
        for text in ["61", "99999999999999999999999999", "Sun, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(asked(text), Some(LONGEST), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_never_zero_nor_too_long(text in "[ -~]{0,40}") {
            if let Some(length) = asked(&text) {
                prop_assert!(!length.is_zero() && length <= LONGEST);
            }
        }

        #[test]
        fn reads_every_second_up_to_the_maximum(seconds in 1u64..=60) {
            prop_assert_eq!(asked(&seconds.to_string()), Some(Duration::from_secs(seconds)));
        }
    }
}
