//! Derived forms of rows: selected fields, tables, totals.
//!
//! Everything here is a pure function of the bytes of rows. Values are slices of upstream's bytes and never encoded
//! again. Sums are exact, and report how many values they skipped.
//!
//! A name that begins with `@` is defined by fanfold; any other name is a path into the row.

pub mod csv;
mod decimal;
pub mod excel;
mod extract;
mod fields;
pub mod fuzzed;
mod list;
mod omit;
mod path;
mod text;
pub mod totals;
mod zone;

#[cfg(test)]
mod tests;

pub use decimal::Decimal;
pub use extract::NotARow;
pub use fields::{Column, Fields};
pub use list::{ListError, MOST_PATHS};
pub use omit::Omit;
pub use path::Path;
pub use zone::{TZDB_RELEASE, UnknownZone, Zone};

use sha2::{Digest as _, Sha256};

/// The short digest for an ETag of a canonical text: the first 8 hex digits of its SHA-256.
pub fn form_digest(canonical: &str) -> String {
    Sha256::digest(canonical)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
