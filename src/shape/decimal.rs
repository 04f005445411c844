use std::fmt;

use super::text;
use crate::domain::NumberCell;

/// An exact decimal: a whole number of 10⁻¹².
///
/// Sums of doubles are wrong in the last cents, `rust_decimal` silently drops digits, and `bigdecimal` computes for half
/// a minute on `1e100000000`. A parsed value has at most 18 digits before the point and 12 after it, so that an `i128`
/// holds the sum of 170 million of the largest; a larger sum is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

/// The most digits after the point.
const SCALE: i64 = 12;

/// One, in units of the last digit.
const ONE: u128 = 1_000_000_000_000;

/// The most digits before the point.
const MOST_WHOLE_DIGITS: i64 = 18;

/// Exponents are clamped to this size, which is far out of range.
const LARGEST_EXPONENT: i64 = 1_000_000_000;

/// What a value adds to a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summand {
    /// Null or absent.
    Nothing,
    /// Not a number, or one with too many digits. Reported as skipped.
    Skipped,
    /// A number, or a string that contains one.
    Number(Decimal),
}

impl Summand {
    /// Reads a JSON value.
    pub(super) fn of(value: Option<&str>) -> Self {
        let Some(value) = value.filter(|value| *value != "null") else { return Self::Nothing };
        let number = if value.starts_with('"') {
            text::of_string(value).and_then(|text| Decimal::parse(&text))
        } else {
            Decimal::parse(value)
        };
        number.map_or(Self::Skipped, Self::Number)
    }

    /// The cell of a number column, in units of 10⁻¹².
    pub(super) const fn to_cell(self) -> NumberCell {
        match self {
            Self::Nothing => NumberCell::Absent,
            Self::Skipped => NumberCell::Skipped,
            Self::Number(Decimal(number)) => NumberCell::Number(number),
        }
    }

    /// The inverse of [`to_cell`](Self::to_cell).
    pub(super) const fn of_cell(cell: NumberCell) -> Self {
        match cell {
            NumberCell::Absent => Self::Nothing,
            NumberCell::Skipped => Self::Skipped,
            NumberCell::Number(number) => Self::Number(Decimal(number)),
        }
    }
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Parses a JSON number. `None` if it is not one, or has more than 18 digits before the point or 12 after it once the
    /// exponent is applied. Linear in the length of the text, whatever the exponent.
    pub fn parse(literal: &str) -> Option<Self> {
        let (is_negative, rest) = literal.strip_prefix('-').map_or((false, literal), |rest| (true, rest));
        let (whole, rest) = digits(rest)?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest)?,
            None => ("", rest),
        };
        let exponent = exponent(rest)?;
        let last = exponent - length(fraction);
        if last < -SCALE {
            return None;
        }
        let all = || whole.bytes().chain(fraction.bytes());
        let zeros = length_of(all().take_while(|&digit| digit == b'0'));
        if zeros == length(whole) + length(fraction) {
            return Some(Self::ZERO);
        }
        if exponent + length(whole) - zeros > MOST_WHOLE_DIGITS {
            return None;
        }
        // At most 30 digits are left.
        let number = all().fold(0i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        let number = number * 10i128.pow(u32::try_from(last + SCALE).ok()?);
        Some(Self(if is_negative { -number } else { number }))
    }

    /// The sum; `None` if it is too large.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

/// Splits off the digits at the start of a text; `None` without any.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Parses the exponent, which may be absent.
fn exponent(text: &str) -> Option<i64> {
    let Some(exponent) = text.strip_prefix(['e', 'E']) else { return text.is_empty().then_some(0) };
    let (is_negative, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let (digits, rest) = digits(exponent)?;
    let size =
        digits.bytes().fold(0, |size, digit| (size * 10 + i64::from(digit - b'0')).min(LARGEST_EXPONENT));
    rest.is_empty().then_some(if is_negative { -size } else { size })
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX / 4)
}

fn length_of(bytes: impl Iterator<Item = u8>) -> i64 {
    i64::try_from(bytes.count()).unwrap_or(i64::MAX / 4)
}

/// Plain notation: no exponent, no trailing zeros.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.unsigned_abs() / ONE, self.0.unsigned_abs() % ONE);
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:012}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}
