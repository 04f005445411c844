//! Open corners of upstream's contract: its documentation does not settle them, or its behavior changed. Each
//! can be set either way.

use std::fmt::Write as _;

use super::page_asked::PageAsked;
use crate::domain::{MAX_PAGE_SIZE, Timestamp};

/// How upstream behaves where its contract is silent. The default is the behavior seen most often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What `total` counts.
    pub total: TotalQuirk,
    /// How `from` and `to` are compared.
    pub dates: DateQuirk,
    /// The order of rows.
    pub order: OrderQuirk,
    /// The order of rows with equal keys.
    pub ties: TieQuirk,
    /// Whether pages carry `has_more`.
    pub has_more: HasMoreQuirk,
    /// What an empty page has for `data`.
    pub empty_data: EmptyDataQuirk,
    /// What a page is wrapped in.
    pub envelope: EnvelopeQuirk,
    /// What more than 50 rows on a page gets.
    pub page_size: PageSizeQuirk,
    /// How bodies are sent to clients that accept gzip.
    pub coding: CodingQuirk,
    /// How instants are written.
    pub stamps: StampForm,
    /// What agents say about their creation.
    pub agent: AgentQuirk,
}

/// What `total` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TotalQuirk {
    /// The rows that match.
    #[default]
    Matching,
    /// There is none.
    Missing,
    /// All rows of the agent, whatever was asked.
    Everything,
    /// The rows that match, and a constant more or, if negative, less.
    OffBy(i64),
}

/// How `from` and `to` are compared with `created_at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateQuirk {
    /// To the microsecond.
    #[default]
    Exact,
    /// `created_at` is cut to whole seconds first.
    RowsCutToSeconds,
    /// `from` and `to` are cut to whole seconds first.
    EndsCutToSeconds,
    /// Not at all: everything is answered.
    Ignored,
}

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderQuirk {
    /// Newest `created_at` first.
    #[default]
    NewestFirst,
    /// Oldest `created_at` first.
    OldestFirst,
    /// Latest `updated_at` first: "sorted by last run", taken at its word.
    LastUpdatedFirst,
}

/// The order of rows with equal keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieQuirk {
    /// In another at every request.
    #[default]
    Unstable,
    /// Always in the same.
    Stable,
}

/// Whether pages carry `has_more`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HasMoreQuirk {
    /// They do, and it is true.
    #[default]
    Present,
    /// They don't.
    Missing,
    /// A full page always promises more, so that the last one may be empty.
    FullPage,
}

/// What an empty page has for `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyDataQuirk {
    /// `[]`
    #[default]
    Array,
    /// `null`
    Null,
}

/// What a page is wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvelopeQuirk {
    /// An object with `page_number`, `total`, `data` and the others.
    #[default]
    Object,
    /// Nothing: the page is an array of rows.
    BareArray,
}

/// What more than 50 rows on a page gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageSizeQuirk {
    /// 422.
    #[default]
    Refused,
    /// 50 rows, silently.
    Clamped,
}

/// What agents say about their creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentQuirk {
    /// Their `created_at`.
    #[default]
    Dated,
    /// Nothing.
    Undated,
}

/// How bodies are sent to clients that accept gzip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodingQuirk {
    /// As they are.
    #[default]
    Identity,
    /// Compressed.
    Gzip,
}

/// How instants are written, all of them in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StampForm {
    /// `2026-01-28T13:17:50.116924`
    #[default]
    Naive,
    /// `2026-01-28T13:17:50.116924+00:00`
    Offset,
    /// `2026-01-28T13:17:50.116924Z`
    Zulu,
}

impl StampForm {
    /// Writes an instant at the end of `out`.
    pub(super) fn write(self, at: Timestamp, out: &mut String) {
        let _ = write!(out, "{at}");
        match self {
            Self::Naive => {
                out.pop();
            }
            Self::Offset => {
                out.pop();
                out.push_str("+00:00");
            }
            Self::Zulu => {}
        }
    }
}

impl DateQuirk {
    /// The instants that are answered for `from` and `to`, both ends inclusive, in microseconds; none are if the
    /// first is after the second.
    pub(super) fn bounds(self, from: Option<Timestamp>, to: Option<Timestamp>) -> (i64, i64) {
        let bounds = match self {
            Self::Exact => (from, to),
            // A row is answered if its second is within: it may lie up to a second beyond `to`.
            Self::RowsCutToSeconds => (
                from.map(Timestamp::ceil_second),
                to.map(|to| Timestamp::from_micros(to.floor_second().as_micros() + 999_999)),
            ),
            Self::EndsCutToSeconds => (from.map(Timestamp::floor_second), to.map(Timestamp::floor_second)),
            Self::Ignored => (None, None),
        };
        (bounds.0.map_or(i64::MIN, Timestamp::as_micros), bounds.1.map_or(i64::MAX, Timestamp::as_micros))
    }
}

impl TotalQuirk {
    /// What a page says, of how many rows match and how many there are.
    pub(super) fn of(self, matching: usize, everything: usize) -> Option<u64> {
        match self {
            Self::Matching => Some(matching as u64),
            Self::Missing => None,
            Self::Everything => Some(everything as u64),
            Self::OffBy(more) => Some((matching as u64).saturating_add_signed(more)),
        }
    }
}

impl HasMoreQuirk {
    /// What a page says.
    pub(super) const fn of(self, page: PageAsked, rows: usize, matching: usize) -> Option<bool> {
        match self {
            Self::Present => Some(page.end() < matching),
            Self::Missing => None,
            Self::FullPage => Some(rows == page.size),
        }
    }
}

impl PageSizeQuirk {
    /// The page size that is answered for the one that was asked for, if any is.
    pub(super) fn allow(self, size: usize) -> Option<usize> {
        match self {
            Self::Refused => (size <= MAX_PAGE_SIZE).then_some(size),
            Self::Clamped => Some(size.min(MAX_PAGE_SIZE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_compare_whole_seconds_differ_from_the_exact_one() {
        let at = |micros| Some(Timestamp::from_micros(micros));
        let (from, to) = (at(1_200_000), at(3_300_000));
        assert_eq!(DateQuirk::Exact.bounds(from, to), (1_200_000, 3_300_000));
        assert_eq!(DateQuirk::RowsCutToSeconds.bounds(from, to), (2_000_000, 3_999_999));
        assert_eq!(DateQuirk::EndsCutToSeconds.bounds(from, to), (1_000_000, 3_000_000));
        assert_eq!(DateQuirk::Ignored.bounds(from, to), (i64::MIN, i64::MAX));
    }

    #[test]
    fn instants_are_written_in_three_forms() {
        let written = [StampForm::Naive, StampForm::Offset, StampForm::Zulu].map(|form| {
            let mut out = String::new();
            form.write(Timestamp::from_micros(1), &mut out);
            out
        });
        assert_eq!(
            written,
            ["1970-01-01T00:00:00.000001", "1970-01-01T00:00:00.000001+00:00", "1970-01-01T00:00:00.000001Z"]
        );
    }
}
