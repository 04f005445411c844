//! Turns rows into the bytes of a body.
//!
//! There are two independent steps. A [`Framing`] arranges rows as one document or one row per line, and produces
//! [`BodyPart`]s, which are not bytes yet. Then a part becomes plain bytes, taken from the cache if it has them, or it is
//! [`Packed`] into a gzip [`GzipMember`], usually from blocks that were deflated long ago. Rows are slices of the cache's
//! entries, and nothing looks into a row except for line breaks, which a line must not have.
//!
//! A gzip body is always **one** member. Several members are legal (RFC 1952 section 2.2), but curl fails on them, and
//! httpx and Chromium silently stop after the first.

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

/// How many bytes are encoded at a time, if there are that many. Few large chunks are faster than many small ones: with 5 KB
/// a chunk, throughput is a third of that with 170 KB.
pub const CHUNK: usize = 256 * 1024;
