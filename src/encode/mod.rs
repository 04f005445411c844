//! How rows become the bytes of a body.
//!
//! Two ideas that do not know each other. A [`Framing`] lays rows out (one document, or one row a line) and is a value
//! with begin, page and finish; a [`Coding`] compresses whatever is laid out. Both take rows as the cache keeps them,
//! in slices of entries, and neither looks into a row but for the line breaks that a line must not have.
//!
//! A gzip body is always **one** member: several, one after another, are legal (RFC 1952 section 2.2), but curl fails on
//! them, and httpx and Chromium stop after the first without a word.

mod framing;
mod gzip;

#[cfg(test)]
pub(crate) use framing::tests::whole as whole_slice;
pub use framing::{Framer, Framing};
pub use gzip::{Coding, Compressor, Flush, Gzip};
