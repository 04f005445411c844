//! Deflates rows once, so that the gzip member of a response is assembled without deflating them again.
//!
//! # The problem
//! NDJSON and a JSON document contain the same rows and differ in the byte between two of them: a line feed or a comma. Both
//! should come from one deflated form, made when the rows arrive.
//!
//! # The solution
//! A deflate stream is a sequence of blocks (RFC 1951 section 3.2.3). Every separator is a stored block of its own on a byte
//! boundary, so it can be overwritten without any other change. The window is not reset there, so rows can still refer to
//! earlier rows. No row contains a line feed, so no row refers to a separator. Both checksums are computed when the rows
//! arrive, and both forms have the same length.
//!
//! A flush costs some bytes, and the code tables after it cost more. At [`Effort::Arrival`] there are no tables, and a
//! separator costs 11 bytes in rows of several hundred. At [`Effort::Idle`] there are tables, so only the first and the last
//! separator are blocks of their own: the encoder usually represents the others as repetitions of the first, together with
//! the beginning of the next row. Overwriting the first and inflating shows whether it did; if not, all separators of the
//! page are stored.
//!
//! # Limits
//! Rows with line breaks between their tokens are deflated for storage only. They are not sent in that form.

mod blocks;
mod checksum;
mod codec;
mod rows;

pub use blocks::{EMPTY_LAST, stored, stored_len};
pub use checksum::Shift;
pub use codec::{Deflating, deflate};
pub use rows::{Deflated, DeflatedParts, Effort, Separator};
