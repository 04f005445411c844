//! Totals of rows: counts and exact sums, by groups.
//!
//! [`Facts`] are what the totals of one question need of each row: a column of values for each path. They are read once, are
//! small, and are kept longer than the rows' bytes, with the index of the rows. They hold a row's own values and no sums, so
//! the same facts serve every time zone, every span and any part of the rows; a day of `Asia/Kolkata` does not begin at a full hour of UTC.
//!
//! [`Totals`] fold facts and the rows' instants.

mod calendar;
mod facts;
mod fold;
mod question;
mod write;

#[cfg(test)]
mod tests;

pub use facts::{Facts, GroupValue};
pub use fold::{MOST_GROUPS, Totals, TotalsError};
pub use question::{GroupKey, Histogram, QuestionError, SummaryParams, SummaryQuestion, Unit};
