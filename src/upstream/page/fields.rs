//! Upstream's field names, and how their values are found without parsing the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::MAX_PAGE_SIZE;

/// The maximum number of rows on a page. Upstream's pages have at most [`MAX_PAGE_SIZE`]; an old version
/// without paging may send all rows at once.
pub(super) const MAX_ROWS: usize = 10_000;

/// Values of `error` that say that there was none.
const NO_ERROR: [&str; 6] = ["null", "false", "0", "\"\"", "{}", "[]"];

/// The parts of an envelope that describe a page.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub(super) data: Data<'a>,
    pub(super) has_more: Option<&'a RawValue>,
    pub(super) total: Option<u64>,
    pub(super) number: Option<u64>,
    pub(super) agent_id: Option<&'a RawValue>,
    /// Whether it has an explanation, as errors do.
    pub(super) speaks: bool,
    /// Whether it says that there was an error.
    pub(super) is_error: bool,
}

/// What was found in place of rows.
#[derive(Default)]
pub(super) enum Data<'a> {
    #[default]
    Absent,
    Null,
    Rows(Vec<&'a RawValue>),
    /// More rows than a page may have.
    TooMany,
    Other,
}

/// Parses an envelope, or a bare array instead.
pub(super) struct EnvelopeVisitor;

impl<'a> Visitor<'a> for EnvelopeVisitor {
    type Value = Envelope<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page")
    }

    /// A bare array is one page.
    fn visit_seq<A: SeqAccess<'a>>(self, rows: A) -> Result<Self::Value, A::Error> {
        Ok(Envelope { data: DataSeed.visit_seq(rows)?, ..Envelope::default() })
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<&RawValue>()? {
            match field_name(key).map_err(A::Error::custom)? {
                FieldName::Data => envelope.data = map.next_value_seed(DataSeed)?,
                FieldName::HasMore => envelope.has_more = Some(map.next_value()?),
                FieldName::Total => envelope.total = map.next_value::<&RawValue>()?.get().parse().ok(),
                FieldName::PageNumber => envelope.number = map.next_value::<&RawValue>()?.get().parse().ok(),
                FieldName::Explanation => envelope.speaks |= map.next_value::<&RawValue>()?.get() != "null",
                FieldName::Error => {
                    let error = map.next_value::<&RawValue>()?.get();
                    envelope.speaks |= error != "null";
                    envelope.is_error |= !NO_ERROR.contains(&error);
                }
                FieldName::AgentId => envelope.agent_id = Some(map.next_value()?),
                FieldName::Id
                | FieldName::CreatedAt
                | FieldName::UpdatedAt
                | FieldName::Status
                | FieldName::BatchId
                | FieldName::VoiceMail
                | FieldName::Telephony
                | FieldName::CallType
                | FieldName::Provider
                | FieldName::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

/// The name of a raw key. Reading it raw refuses control characters, which are not JSON; reading it as bytes does not.
fn field_name(key: &RawValue) -> Result<FieldName, serde_json::Error> {
    KeySeed.deserialize(&mut serde_json::Deserializer::from_str(key.get()))
}

/// Parses an envelope's data without a second pass over its rows.
struct DataSeed;

impl<'a> DeserializeSeed<'a> for DataSeed {
    type Value = Data<'a>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Data<'a>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for DataSeed {
    type Value = Data<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Data<'a>, A::Error> {
        let mut rows = Vec::with_capacity(MAX_PAGE_SIZE);
        while let Some(row) = seq.next_element()? {
            if rows.len() == MAX_ROWS {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Data::TooMany);
            }
            rows.push(row);
        }
        Ok(Data::Rows(rows))
    }

    fn visit_unit<E>(self) -> Result<Data<'a>, E> {
        Ok(Data::Null)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Data<'a>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Data::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Data<'a>, E> {
        Ok(Data::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Data<'a>, E> {
        Ok(Data::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Data<'a>, E> {
        Ok(Data::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Data<'a>, E> {
        Ok(Data::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Data<'a>, E> {
        Ok(Data::Other)
    }
}

/// The values that are read from a row.
#[derive(Default)]
pub(super) struct RowFields<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) agent_id: Option<&'a RawValue>,
    /// A member that pages have, but rows and agents don't.
    pub(super) data: Option<&'a RawValue>,
    pub(super) created_at: Option<&'a RawValue>,
    pub(super) updated_at: Option<&'a RawValue>,
    pub(super) status: Option<&'a RawValue>,
    pub(super) batch_id: Option<&'a RawValue>,
    pub(super) voice_mail: Option<&'a RawValue>,
    pub(super) telephony: Option<&'a RawValue>,
}

/// Parses a row, or an agent, which also has dates.
pub(super) struct RowVisitor;

impl<'a> Visitor<'a> for RowVisitor {
    type Value = RowFields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = RowFields::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let field = match key {
                FieldName::Id => &mut fields.id,
                FieldName::AgentId => &mut fields.agent_id,
                FieldName::Data => &mut fields.data,
                FieldName::CreatedAt => &mut fields.created_at,
                FieldName::UpdatedAt => &mut fields.updated_at,
                FieldName::Status => &mut fields.status,
                FieldName::BatchId => &mut fields.batch_id,
                FieldName::VoiceMail => &mut fields.voice_mail,
                FieldName::Telephony => &mut fields.telephony,
                FieldName::HasMore
                | FieldName::Total
                | FieldName::PageNumber
                | FieldName::Explanation
                | FieldName::Error
                | FieldName::CallType
                | FieldName::Provider
                | FieldName::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

/// The values that are read from a row's telephony data.
#[derive(Default)]
pub(super) struct TelephonyFields<'a> {
    pub(super) call_type: Option<&'a RawValue>,
    pub(super) provider: Option<&'a RawValue>,
}

/// Reads a row's telephony data, which are an object.
pub(super) struct TelephonyVisitor;

impl<'a> Visitor<'a> for TelephonyVisitor {
    type Value = TelephonyFields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("telephony data")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = TelephonyFields::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = Some(map.next_value()?);
            if matches!(key, FieldName::CallType) {
                fields.call_type = value;
            } else if matches!(key, FieldName::Provider) {
                fields.provider = value;
            }
        }
        Ok(fields)
    }
}

/// A value within an object or an array.
pub(super) enum Child<'a> {
    /// The value of an `agent_id`.
    AgentId(&'a RawValue),
    /// Any other.
    Other(&'a RawValue),
}

/// Collects the values of an object or an array, without parsing them.
pub(super) struct ChildrenVisitor;

impl<'a> Visitor<'a> for ChildrenVisitor {
    type Value = Vec<Child<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut children = Vec::new();
        while let Some(value) = seq.next_element()? {
            children.push(Child::Other(value));
        }
        Ok(children)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut children = Vec::new();
        while let Some(key) = map.next_key::<&RawValue>()? {
            let is_agent = matches!(field_name(key).map_err(A::Error::custom)?, FieldName::AgentId);
            let value = map.next_value()?;
            children.push(if is_agent { Child::AgentId(value) } else { Child::Other(value) });
        }
        Ok(children)
    }
}

/// Upstream's keys that have a meaning here.
enum FieldName {
    Data,
    HasMore,
    Total,
    PageNumber,
    Explanation,
    Error,
    Id,
    AgentId,
    CreatedAt,
    UpdatedAt,
    Status,
    BatchId,
    VoiceMail,
    Telephony,
    CallType,
    Provider,
    Other,
}

struct KeySeed;

impl<'a> DeserializeSeed<'a> for KeySeed {
    type Value = FieldName;

    /// Compared as bytes: half of a surrogate pair in a key is valid JSON but not text.
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<FieldName, D::Error> {
        json.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = FieldName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<FieldName, E> {
        Ok(match key {
            b"data" => FieldName::Data,
            b"has_more" => FieldName::HasMore,
            b"total" => FieldName::Total,
            b"page_number" => FieldName::PageNumber,
            b"message" | b"detail" => FieldName::Explanation,
            b"error" => FieldName::Error,
            b"id" => FieldName::Id,
            b"agent_id" => FieldName::AgentId,
            b"created_at" => FieldName::CreatedAt,
            b"updated_at" => FieldName::UpdatedAt,
            b"status" => FieldName::Status,
            b"batch_id" => FieldName::BatchId,
            b"answered_by_voice_mail" => FieldName::VoiceMail,
            b"telephony_data" => FieldName::Telephony,
            b"call_type" => FieldName::CallType,
            b"provider" => FieldName::Provider,
            _ => FieldName::Other,
        })
    }
}
