//! What all tiers share: the secret, the names and seals derived from it, the formats of records, and how new cells replace
//! kept ones.
//!
//! Everything kept is a *record*, named by a keyed digest and sealed, with keys derived from the tier's secret. A record that
//! can't be opened, for any reason, is a miss. [`mod@format`] documents the formats.

pub mod format;
pub mod fuzzed;
mod lay_over;
mod names;
mod record;
mod sampled;
mod seal;
mod secret;
mod secret_file;
mod stats;
#[cfg(test)]
pub(crate) mod testing;
mod void_marks;

pub(crate) use self::lay_over::{extent, lay_over, only, weeks_of};
pub use self::names::TierNames;
pub use self::record::{NotARecordName, RecordKind, RecordName};
pub(crate) use self::sampled::SampledLine;
pub use self::seal::{Sealer, Unsealed};
pub use self::secret::{BadTierSecret, TierKeys, TierSecret};
pub(crate) use self::secret_file::SecretFile;
pub use self::secret_file::SecretSource;
pub(crate) use self::stats::{FileOutcome, TierCounters};
pub(crate) use self::void_marks::{ReadMarks, VoidMarks, not_void};
