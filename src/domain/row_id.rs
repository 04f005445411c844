use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Identifies an execution: upstream's identifier, a UUID, or `{agent_id}#{timestamp}` in old rows.
///
/// Ordered as its text. A UUID in upstream's spelling (lowercase, with dashes) takes sixteen bytes, and the bytes of two such
/// UUIDs compare as their texts do.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RowId(RowIdForm);

/// The form in which an identifier is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowIdForm {
    /// The bytes of a UUID.
    Uuid([u8; 16]),
    /// Any other text, including a UUID in another spelling.
    Text(Arc<str>),
}

impl RowId {
    /// The identifier of this text.
    pub fn new(text: &str) -> Self {
        Self(uuid_of(text).map_or_else(|| RowIdForm::Text(text.into()), RowIdForm::Uuid))
    }

    /// The identifier of these bytes of a UUID.
    pub const fn of_uuid(bytes: [u8; 16]) -> Self {
        Self(RowIdForm::Uuid(bytes))
    }

    /// The identifier of a text that is not a UUID.
    pub(super) const fn of_text(text: Arc<str>) -> Self {
        Self(RowIdForm::Text(text))
    }

    /// The length of the text, if the identifier is kept as text; otherwise 0.
    pub fn text_len(&self) -> usize {
        match &self.0 {
            RowIdForm::Uuid(_) => 0,
            RowIdForm::Text(text) => text.len(),
        }
    }

    /// The form in which the identifier is kept.
    pub const fn form(&self) -> &RowIdForm {
        &self.0
    }
}

/// The bytes of a UUID in upstream's spelling; `None` for any other text.
fn uuid_of(text: &str) -> Option<[u8; 16]> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (uuid.hyphenated().encode_lower(&mut buffer) == text).then(|| uuid.into_bytes())
}

impl From<&str> for RowId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for RowId {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl PartialEq<str> for RowId {
    fn eq(&self, text: &str) -> bool {
        match &self.0 {
            RowIdForm::Uuid(bytes) => uuid_of(text).is_some_and(|other| other == *bytes),
            RowIdForm::Text(own) => **own == *text,
        }
    }
}

impl PartialEq<&str> for RowId {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl Ord for RowId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (RowIdForm::Uuid(a), RowIdForm::Uuid(b)) => a.cmp(b),
            (RowIdForm::Text(a), RowIdForm::Text(b)) => a.cmp(b),
            (RowIdForm::Uuid(_), RowIdForm::Text(b)) => self.to_string().as_str().cmp(b),
            (RowIdForm::Text(a), RowIdForm::Uuid(_)) => (**a).cmp(other.to_string().as_str()),
        }
    }
}

impl PartialOrd for RowId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RowIdForm::Uuid(bytes) => fmt::Display::fmt(&Uuid::from_bytes(*bytes), f),
            RowIdForm::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        let uuid = any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string());
        prop_oneof![
            3 => uuid.clone(),
            1 => uuid.clone().prop_map(|uuid| uuid.to_uppercase()),
            1 => uuid.clone().prop_map(|uuid| uuid.replace('-', "")),
            1 => uuid.prop_map(|uuid| format!("{uuid}#1767000000.123")),
            1 => "[0-9a-f-]{0,40}",
        ]
    }

    proptest! {
        #[test]
        fn an_id_is_its_text(a in text(), b in text()) {
            let (first, second) = (RowId::new(&a), RowId::new(&b));
            prop_assert_eq!(first.to_string(), a.clone());
            prop_assert_eq!(first == second, a == b);
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
            prop_assert!(first == a.as_str() && (first == b.as_str()) == (a == b));
        }
    }

    #[test]
    fn a_uuid_takes_no_memory_of_its_own() {
        assert_eq!(RowId::new("6f96c9b1-0000-4000-8000-0123456789ab").text_len(), 0);
        assert_eq!(RowId::new("6F96C9B1-0000-4000-8000-0123456789AB").text_len(), 36);
    }
}
