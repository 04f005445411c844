//! A tier in a directory of a local disk.
//!
//! Everything in it is a *record*: named by a keyed digest and sealed, with keys that come from the tier's secret. A record that
//! can't be opened, for whatever reason, is a miss. [`format`] documents what records look like.

pub mod format;
pub mod fuzzed;
mod names;
mod record;
mod seal;
mod secret;

pub use names::TierNames;
pub use record::{NotARecordName, RecordKind, RecordName};
pub use seal::{OVERHEAD, Sealer, Unsealed};
pub use secret::{BadTierSecret, TierKeys, TierSecret};
