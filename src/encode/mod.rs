//! Turns rows into the bytes of a body.
//!
//! There are two independent steps. A [`Framing`] arranges rows as one document or one row per line, as [`BodyPart`]s. Then
//! a part becomes plain bytes, which the cache may have, or it is [`Packed`] for a [`GzipMember`], usually from blocks that
//! were deflated long ago. Rows are slices of the cache's entries. Only line breaks in rows matter here, because NDJSON
//! can't have them.
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
    /// No coding.
    Identity,
    /// Gzip (RFC 1952), as one member.
    Gzip,
}

/// How many bytes to encode at a time. With chunks of 5 KB, throughput is a third of that with 170 KB.
pub const CHUNK: usize = 256 * 1024;
