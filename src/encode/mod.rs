//! How rows become the bytes of a body.
//!
//! Two ideas that do not know each other. A [`Framing`] lays rows out (one document, or one row a line) and is a value
//! with begin, rows and finish; what it lays out are [`BodyPart`]s, which are not bytes yet. Then a part becomes plain bytes, as
//! they lie in the cache where they do, or it is [`Packed`] and becomes a piece of a gzip [`GzipMember`], deflated long ago. Rows
//! are taken as the cache keeps them, in slices of entries, and nothing looks into a row but for the line breaks that a
//! line must not have.
//!
//! A gzip body is always **one** member: several, one after another, are legal (RFC 1952 section 2.2), but curl fails on
//! them, and httpx and Chromium stop after the first without a word.

mod compression_pool;
mod framing;
mod member;
mod packed;
mod part;

pub use compression_pool::CompressionPool;
pub use framing::Framing;
#[cfg(test)]
pub(crate) use framing::tests::whole as whole_slice;
pub use member::GzipMember;
pub use packed::Packed;
pub use part::{BodyPart, RowsPart};

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952, one member.
    Gzip,
}

/// How much is laid out at a time where there is that much: few large chunks go faster than many small ones. At 5 KB a
/// chunk a body reaches a third of what it does at 170 KB.
pub const CHUNK: usize = 256 * 1024;
