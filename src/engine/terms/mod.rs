//! The engine's vocabulary, which `http` uses too: questions, verdicts, errors, settings, time.

mod clock;
mod error;
mod question;
mod settings;
mod verdict;

pub(in crate::engine) use self::clock::AskedAt;
pub use self::clock::Clock;
pub use self::error::{AskError, Awaited};
pub use self::question::{CacheDirectives, Newest, Question, ResponseMode, RowNeed, Tolerance};
pub use self::settings::{EngineSettings, MemoryBounds};
pub use self::verdict::{CacheReport, Collected, Freshness, Missing, StaleReason, Verdict};
