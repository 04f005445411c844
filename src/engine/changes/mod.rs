//! What changed in a result since a client got it last.
//!
//! For each question that somebody follows, a [`log`] keeps a digest of every row of its latest complete response, and which
//! response saw the row change. A [`Comparison`] goes through the rows of a new response: it passes on those that the client
//! does not have, and at the end it tells which are no longer there. Then it makes the result the latest one, with a
//! [`Cursor`] for the client. Only results are looked at, never what is kept of them: evicted rows that come back unchanged
//! are no change.
//!
//! The [`registry`] bounds the memory of all logs. A cursor whose log is lost still carries the digest of the rows, so it is
//! good for as long as nothing changes.

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
pub use self::registry::{ChangeLogStats, Confirmation, NotKept};
