use std::fmt;
use std::time::Duration;

use jiff::civil;

/// An instant in microseconds since 1970 UTC, which is the precision of upstream's rows.
///
/// # Invariants
/// Is within the years −9999 to 9999, so that it can always be formatted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const SECOND: i64 = 1_000_000;

/// From this date to the end of the calendar, an instant may exceed what the library can represent.
const LAST_DAYS: civil::Date = civil::date(9999, 12, 30);

/// How an instant finer than a microsecond is rounded.
///
/// Rows have whole microseconds, so the start of a span can be rounded up and its end down without losing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Toward the past, for the end of a span.
    Down,
    /// Toward the future, for the start of a span.
    Up,
}

impl Timestamp {
    /// Earlier than any of upstream's data.
    pub const MIN: Self = Self(-377_705_000_000 * SECOND);
    /// Later than any of upstream's data.
    pub const MAX: Self = Self(253_402_000_000 * SECOND);

    /// The instant this many microseconds after 1970, clamped to [`Self::MIN`] and [`Self::MAX`].
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since 1970 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with any offset; no offset means UTC, as in upstream's rows. A date alone is not an instant.
    pub fn parse(text: &str, rounding: Rounding) -> Option<Self> {
        if !text.is_ascii() || !text.get(10..11).is_some_and(|t| matches!(t, "T" | "t" | " ")) {
            return None;
        }
        let nanos = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.as_nanosecond(),
            // The parser accepts a zone in brackets; RFC 3339 does not.
            Err(_) => match text.parse::<civil::DateTime>() {
                Ok(naive) if naive.date() >= LAST_DAYS => return Some(Self::MAX),
                Ok(naive) => jiff::tz::Offset::UTC.to_timestamp(naive).ok()?.as_nanosecond(),
                Err(_) => return is_in_last_days(text).then_some(Self::MAX),
            },
        };
        let micros = match rounding {
            Rounding::Down => nanos.div_euclid(1_000),
            Rounding::Up => -(-nanos).div_euclid(1_000),
        };
        i64::try_from(micros).ok().map(Self::from_micros)
    }

    /// The last whole second not after this instant.
    pub const fn floor_second(self) -> Self {
        Self(self.0 - self.0.rem_euclid(SECOND))
    }

    /// The first whole second not before this instant.
    pub const fn ceil_second(self) -> Self {
        Self(self.0 + (-self.0).rem_euclid(SECOND))
    }

    /// This instant moved toward the future.
    pub fn plus(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(length)))
    }

    /// This instant moved toward the past.
    pub fn minus(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(length)))
    }

    /// The instant one microsecond later.
    pub const fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    /// The instant one microsecond earlier.
    pub const fn previous(self) -> Self {
        Self::from_micros(self.0 - 1)
    }

    /// The time since `earlier`; zero if that is later than this instant.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    fn jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Formats the instant with milliseconds and `Z`, a form that upstream is known to accept.
    pub fn to_millis_text(self) -> String {
        format!("{:.3}", self.jiff())
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 with six decimals and `Z`: `2026-11-23T10:00:00.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.jiff())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a text with an offset that the library can't parse is an instant in the last days of the year 9999, which is
/// sometimes written to mean "always".
fn is_in_last_days(text: &str) -> bool {
    let Some(at) = text.get(11..).and_then(|time| time.find(['Z', 'z', '+', '-'])) else { return false };
    let (local, offset) = text.split_at(at + 11);
    let is_offset = format!("2000-01-01T00:00:00{offset}").parse::<jiff::Timestamp>().is_ok();
    is_offset && local.parse::<civil::DateTime>().is_ok_and(|local| local.date() >= LAST_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(text: &str) -> Option<String> {
        Timestamp::parse(text, Rounding::Down).map(|t| t.to_string())
    }

    #[test]
    fn reads_every_spelling_that_rows_have() {
        let same = Some("2026-01-28T13:17:50.116924Z".to_owned());
        assert_eq!(down("2026-01-28T13:17:50.116924"), same);
        assert_eq!(down("2026-01-28T13:17:50.116924Z"), same);
        assert_eq!(down("2026-01-28T13:17:50.116924+00:00"), same);
        assert_eq!(down("2026-01-28T18:47:50.116924+05:30"), same);
        assert_eq!(down("2026-01-28 13:17:50.116924"), same);
    }

    #[test]
    fn refuses_texts_that_are_not_instants() {
        for text in ["2026-01-28", "", "now", "13:17:50", "2026-13-01T00:00:00Z", "2026-01-28T", "１２３４"]
        {
            assert_eq!(down(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_the_calendar_is_an_instant_with_every_offset() {
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.9999999Z",
            "9999-12-31T23:59:59.999999",
            "9999-12-31T23:59:59-12:00",
            "9999-12-31 23:59:59+00:00",
        ] {
            assert_eq!(Timestamp::parse(text, Rounding::Down), Some(Timestamp::MAX), "{text}");
        }
        for text in
            ["9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z", "9999-12-31T00:00:00+99:00", "9999-12-31T"]
        {
            assert_eq!(down(text), None, "{text}");
        }
    }

    #[test]
    fn rounds_instants_finer_than_a_microsecond() {
        let text = "2026-01-28T13:17:50.1169245Z";
        assert_eq!(down(text).as_deref(), Some("2026-01-28T13:17:50.116924Z"));
        let up = Timestamp::parse(text, Rounding::Up).map(|t| t.to_string());
        assert_eq!(up.as_deref(), Some("2026-01-28T13:17:50.116925Z"));
    }

    #[test]
    fn finds_whole_seconds_on_both_sides_of_1970() {
        for micros in [-1_500_000, -1_000_000, -1, 0, 1, 999_999, 1_000_000] {
            let t = Timestamp::from_micros(micros);
            assert!(t.floor_second() <= t && t <= t.ceil_second());
            assert!(t.ceil_second().0 - t.floor_second().0 <= SECOND);
            assert_eq!(t.floor_second().0 % SECOND, 0);
            assert_eq!(t.ceil_second().0 % SECOND, 0);
        }
    }
}
