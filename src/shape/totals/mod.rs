//! Totals of rows: counts and exact sums by group.
//!
//! [`Facts`] are the values of rows that one question needs: a column for each path. They are small, read once, and kept
//! with the index of the rows, longer than the rows' bytes. Because they hold values and no sums, the same facts serve
//! every time zone, every span and any part of the rows. (Sums by hour would not do: a day in `Asia/Kolkata` starts at
//! half past an hour of UTC.)
//!
//! [`Totals`] fold facts and the creation dates of rows.

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
