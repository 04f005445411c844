use std::collections::HashMap;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, time};
use jiff::tz::Offset;

use super::Unit;
use crate::domain::{Span, Timestamp};
use crate::shape::Zone;
use crate::shape::zone::{instant, last_before, local};

/// Assigns instants to the hours, days, weeks and months of a time zone.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    zone: Zone,
    units: Vec<Unit>,
    /// For each number, the time of each unit.
    times: Vec<Vec<Time>>,
    known: HashMap<Vec<Time>, u32>,
    /// The last number returned, and the span in which it applies. Rows are in chronological order, so most share it.
    last: Option<(Span, u32)>,
}

/// One hour, day, week or month: its name and its span.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Time {
    pub(super) label: String,
    pub(super) span: Span,
}

impl Calendar {
    pub(super) fn new(zone: Zone, units: Vec<Unit>) -> Self {
        Self { zone, units, times: Vec::new(), known: HashMap::new(), last: None }
    }

    pub(super) const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether groups have no time.
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The number that stands for the times of all units at this instant.
    pub(super) fn number(&mut self, at: Timestamp) -> u32 {
        if let Some((span, number)) = &self.last
            && span.contains(at)
        {
            return *number;
        }
        let (offset, same_offset) = self.zone.offset(at);
        let shown = local(at, offset);
        let mut lasting = same_offset;
        let mut times = Vec::with_capacity(self.units.len());
        for &unit in &self.units {
            let (start, end) = unit.around(shown);
            let by_offset = Span::new(instant(start, offset), last_before(instant(end, offset)))
                .and_then(|span| span.intersection(same_offset));
            lasting = by_offset.and_then(|span| span.intersection(lasting)).unwrap_or(Span::at(at));
            let span = match unit {
                Unit::Hour => by_offset,
                Unit::Day | Unit::Week | Unit::Month => {
                    Span::new(self.zone.first(start), last_before(self.zone.first(end)))
                }
            };
            times.push(Time { label: unit.label(start, offset), span: span.unwrap_or(Span::at(at)) });
        }
        let next = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        let number = *self.known.entry(times).or_insert_with_key(|times| {
            self.times.push(times.clone());
            next
        });
        self.last = Some((lasting, number));
        number
    }

    /// The times that a number stands for, one for each unit.
    pub(super) fn times(&self, number: u32) -> &[Time] {
        &self.times[number as usize]
    }
}

impl Unit {
    /// The start of the unit that contains a local time, and its end, which is exclusive.
    fn around(self, shown: DateTime) -> (DateTime, DateTime) {
        let day = shown.date();
        let midnight = |day: Date| day.to_datetime(time(0, 0, 0, 0));
        match self {
            Self::Hour => {
                let start = day.to_datetime(time(shown.hour(), 0, 0, 0));
                (start, start.checked_add(1.hour()).unwrap_or(DateTime::MAX))
            }
            Self::Day => (midnight(day), midnight(day.tomorrow().unwrap_or(Date::MAX))),
            Self::Week => {
                let since_monday = i64::from(day.weekday().to_monday_zero_offset());
                let monday = day.checked_sub(since_monday.days()).unwrap_or(Date::MIN);
                (midnight(monday), midnight(monday.checked_add(7.days()).unwrap_or(Date::MAX)))
            }
            Self::Month => {
                let first = day.first_of_month();
                (midnight(first), midnight(first.checked_add(1.month()).unwrap_or(Date::MAX)))
            }
        }
    }

    /// The name of the unit that starts at a local time.
    fn label(self, start: DateTime, offset: Offset) -> String {
        let day = start.date();
        match self {
            Self::Hour => format!("{day}T{:02}:00{}", start.hour(), offset_text(offset)),
            Self::Day | Self::Week => day.to_string(),
            Self::Month => format!("{:04}-{:02}", day.year(), day.month()),
        }
    }
}

/// An offset as in RFC 3339, except that those of long ago have seconds.
fn offset_text(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, size) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    let text = format!("{sign}{:02}:{:02}", size / 3600, size / 60 % 60);
    if size % 60 == 0 { text } else { format!("{text}:{:02}", size % 60) }
}
