//! Rows deflated once, so that an answer's gzip member is put together without looking at its bytes again.
//!
//! # The problem
//! Lines and documents hold the same rows and differ in the byte between two of them: a line feed, or a comma. Both should come
//! from one deflated form, deflated when the rows arrived.
//!
//! # The way
//! A deflate stream is a row of blocks (RFC 1951 section 3.2.3). Every separator is a block of its own, stored as it is, on a
//! byte boundary: it can be written over, and nothing else has to change. The window is not reset there, so rows are
//! still described by those before them; as no row contains a line feed, no row is described by a separator. Both
//! checksums are reckoned when the rows arrive, and both forms have one length.
//!
//! A flush costs some bytes, and the tables of codes that follow it some more. At the fast level there are no such tables: a
//! separator costs 11 bytes, of rows that take several hundreds. At the [`Effort::Idle`] level there are; then only the
//! first separator and the last are blocks of their own, and the encoder describes all others as a repetition of it, together with the
//! beginning of a row that follows. Whether it did is tried out, by writing over the first and inflating; a page where
//! it did not gets all its separators stored.
//!
//! # Left out
//! Rows that contain line breaks between their tokens are deflated as they are, to be kept, and not to be sent.

mod blocks;
mod checksum;
mod codec;
mod rows;

pub use blocks::{EMPTY_LAST, stored, stored_len};
pub use checksum::Shift;
pub use codec::{Deflating, deflate};
pub use rows::{Deflated, Effort, Separator};
