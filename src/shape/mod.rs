//! Derived forms of rows: selected fields, tables, totals.
//!
//! Everything here is a pure function over the bytes of rows. Values are slices of upstream's bytes and are
//! never encoded again; sums are exact, or count the values that they skip.
//!
//! A name that begins with `@` belongs to fanfold; any other name is a path into the row.

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
pub use list::ListError;
pub use omit::Omit;
pub use path::Path;
pub use zone::{TZDB_RELEASE, UnknownZone, Zone};

use sha2::{Digest as _, Sha256};

/// The short digest of a canonical list that an ETag carries: the first 8 hex digits of its SHA-256.
pub fn form_digest(canonical: &str) -> String {
    Sha256::digest(canonical)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
