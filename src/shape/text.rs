//! JSON strings, decoded.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

/// Decodes a JSON string into bytes. Half a surrogate pair, which is not valid UTF-8, becomes three bytes.
pub(super) fn bytes_of<'a, D: Deserializer<'a>>(json: D) -> Result<Box<[u8]>, D::Error> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Box<[u8]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(bytes.into())
        }
    }

    json.deserialize_bytes(Bytes)
}

/// The text of a JSON value, if it is a string that can be decoded.
pub(super) fn of_string(value: &str) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str::<String>(value).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}
