//! The kind and the name of a record, which identify it.

use std::fmt;
use std::str::FromStr;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// What is known of a scope in one week.
    Cell,
    /// The bytes of an entry.
    Rows,
    /// The void marks.
    Marks,
}

impl RecordKind {
    /// Its number in what the seal authenticates.
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Cell => 1,
            Self::Rows => 2,
            Self::Marks => 3,
        }
    }

    /// The version of its format that this code writes, and the only one that it reads.
    ///
    /// The version of marks never changes: every version of fanfold that uses a tier must obey them. A release that changes
    /// another format increments its version.
    pub(super) const fn version(self) -> u16 {
        match self {
            Self::Cell | Self::Rows | Self::Marks => 1,
        }
    }
}

/// A name in a tier: 128 bits that reveal nothing about what they name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName([u8; 16]);

/// The text is not 32 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a name of 32 lowercase hex digits")]
pub struct NotARecordName;

impl RecordName {
    /// The name of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Accepts only what [`Display`](fmt::Display) writes, so that a name has one spelling.
impl FromStr for RecordName {
    type Err = NotARecordName;

    fn from_str(text: &str) -> Result<Self, NotARecordName> {
        let is_plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u128::from_str_radix(text, 16).map_err(|_| NotARecordName)?;
        if is_plain { Ok(Self(bits.to_be_bytes())) } else { Err(NotARecordName) }
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_has_one_spelling(bytes in any::<[u8; 16]>()) {
            let name = RecordName::from_bytes(bytes);
            let text = name.to_string();
            prop_assert_eq!(text.len(), 32);
            prop_assert_eq!(text.parse(), Ok(name));
        }

        #[test]
        fn parses_no_other_spelling(text in "\\PC{0,40}|[0-9a-fA-F+]{30,34}") {
            if let Ok(name) = text.parse::<RecordName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
