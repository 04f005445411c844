use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Status;

/// Which executions are requested, apart from dates. Filters that mean the same to upstream are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filters {
    /// Only rows in this status. A row enters and leaves the result as its call proceeds.
    pub status: Option<Status>,
    /// Only calls in this direction.
    pub call_type: Option<CallType>,
    /// Only calls through this telephony provider.
    pub provider: Option<Provider>,
    /// Only calls that voice mail answered, or did not. Decided during the call, so rows enter and leave the
    /// result.
    pub answered_by_voice_mail: Option<bool>,
    /// Only calls in this batch.
    pub batch_id: Option<BatchId>,
}

impl Filters {
    /// Whether an existing row may enter or leave the result.
    pub fn can_change(&self) -> bool {
        self.status.is_some() || self.answered_by_voice_mail.is_some()
    }

    /// The same filters without the status.
    #[must_use]
    pub fn without_status(&self) -> Self {
        Self { status: None, ..self.clone() }
    }

    /// The same filters with this status.
    #[must_use]
    pub fn with_status(&self, status: Status) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    /// The filters as upstream's query names and values, in a fixed order.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let text = |t: &str| t.to_owned();
        [
            ("answered_by_voice_mail", self.answered_by_voice_mail.map(|b| b.to_string())),
            ("batch_id", self.batch_id.as_ref().map(|b| text(b.as_str()))),
            ("call_type", self.call_type.map(|c| text(c.as_str()))),
            ("provider", self.provider.as_ref().map(|p| text(p.as_str()))),
            ("status", self.status.as_ref().map(|s| text(s.as_str()))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// The direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallType {
    /// A person called the agent.
    Inbound,
    /// The agent called.
    Outbound,
}

impl CallType {
    /// Upstream's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// The value does not have the form that its filter requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFilterValue;

impl FromStr for CallType {
    type Err = NotAFilterValue;

    fn from_str(text: &str) -> Result<Self, NotAFilterValue> {
        match text {
            "inbound" => Ok(Self::Inbound),
            "outbound" => Ok(Self::Outbound),
            _ => Err(NotAFilterValue),
        }
    }
}

/// A telephony provider, by upstream's name for it; an open set.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Provider(Arc<str>);

impl Provider {
    /// Upstream's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a word has the form of upstream's open sets: `[a-z0-9_-]{1,64}`.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

impl FromStr for Provider {
    type Err = NotAFilterValue;

    fn from_str(text: &str) -> Result<Self, NotAFilterValue> {
        if is_word(text) { Ok(Self(text.into())) } else { Err(NotAFilterValue) }
    }
}

impl FromStr for Status {
    type Err = NotAFilterValue;

    fn from_str(text: &str) -> Result<Self, NotAFilterValue> {
        if is_word(text) { Ok(Self::new(text)) } else { Err(NotAFilterValue) }
    }
}

/// A batch: 32 hex digits, or a dashed UUID. Kept in lowercase, with its dashes if it had any.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BatchId(Arc<str>);

impl BatchId {
    /// The identifier as upstream writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BatchId {
    type Err = NotAFilterValue;

    fn from_str(text: &str) -> Result<Self, NotAFilterValue> {
        let plain = text.len() == 32 || text.len() == 36;
        match uuid::Uuid::try_parse(text) {
            Ok(_) if plain => Ok(Self(text.to_ascii_lowercase().into())),
            _ => Err(NotAFilterValue),
        }
    }
}

macro_rules! debug_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
debug_as_text!(Provider, BatchId);
