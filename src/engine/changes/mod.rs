//! What changed in a result since a client last received it.
//!
//! For each followed question, a [`log`] stores a digest of every row of its latest complete response, and
//! which response saw the row change. A [`Comparison`] processes the rows of a new response: it passes on
//! those that the client does not have, and at the end returns those that are gone. Then it makes the result
//! the latest one, with a [`Cursor`] for the client. Only results count, not what the cache holds of them:
//! evicted rows that return unchanged are no change.
//!
//! The [`registry`] limits the memory of all logs. A cursor whose log is lost still has the digest of the
//! rows, so it stays valid until something changes.

mod comparison;
mod cursor;
mod log;
mod registry;
mod rows;
#[cfg(test)]
mod tests;

pub use self::comparison::{ChangesOutcome, Comparison, Finished, Logging, ResponseExtent};
pub use self::cursor::{Cursor, CursorError, FollowedAgents, FollowedQuestion};
pub use self::log::{RemovedRow, Vanished};
pub(super) use self::registry::ChangeLogs;
pub use self::registry::{Confirmation, NotKept};
