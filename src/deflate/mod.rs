//! Deflates rows once, so that a response's gzip member can be assembled without processing its bytes again.
//!
//! # The problem
//! Lines and documents contain the same rows and differ in the byte between two of them: a line feed or a
//! comma. Both should come from one deflated form, made when the rows arrived.
//!
//! # The solution
//! A deflate stream is a sequence of blocks (RFC 1951 section 3.2.3). Every separator is a block of its own,
//! stored uncompressed on a byte boundary, so it can be overwritten without any other change. The window is
//! not reset there, so rows can still refer back to earlier rows. No row contains a line feed, so no row
//! refers to a separator. Both checksums are computed when the rows arrive, and both forms have the same
//! length.
//!
//! A flush costs some bytes, and the code tables that follow it some more. At the fast level there are no
//! such tables, and a separator costs 11 bytes in rows of several hundred. At the [`Effort::Idle`] level
//! there are tables. Then only the first and the last separator are blocks of their own, and the encoder
//! represents the others as repetitions of the first, together with the beginning of the next row. Whether it
//! did is tested by overwriting the first separator and inflating; if it did not, all separators of the page
//! are stored.
//!
//! # Left out
//! Rows with line breaks between their tokens are deflated as they are, for storage only, and are not sent in
//! that form.

mod blocks;
mod checksum;
mod codec;
mod rows;

pub use blocks::{EMPTY_LAST, stored, stored_len};
pub use checksum::Shift;
pub use codec::{Deflating, deflate};
pub use rows::{Deflated, DeflatedParts, Effort, Separator};
