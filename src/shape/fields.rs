use super::extract::{Extractor, FoundValues, Node, NotARow};
use super::form_digest;
use super::list::{self, ListError, ListItem, MOST_PATHS, excerpt};
use super::path::{Path, json_key};
use crate::domain::AgentId;

/// The name of the agent's id in a list of fields.
pub(super) const AGENT_ID: &str = "@agent_id";

/// A list of fields: which values of a row to send, in which order.
///
/// Lists are equal if they mean the same, whatever their spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    columns: Vec<Column>,
    extractor: Extractor,
    members: Vec<OutputMember>,
}

/// One item of a list of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The id of the requested agent, which is not a value of the row.
    AgentId,
    /// A value of the row.
    Path(Path),
}

/// A member of a projected row. Strings are its key with quotes and colon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OutputMember {
    AgentId,
    /// The value in a slot.
    Value(String, usize),
    /// An object with these members.
    Object(String, Vec<OutputMember>),
}

impl Fields {
    /// Parses the values of `fields`, which together form one list.
    ///
    /// # Errors
    /// The list is empty, too long, malformed, or names a value twice.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self, ListError> {
        let items = list::parse(values, MOST_PATHS)?;
        list::check_apart(&items)?;
        let columns = items
            .into_iter()
            .map(|item| match item {
                ListItem::Path(path) => Ok(Column::Path(path)),
                ListItem::Own(name) if name == AGENT_ID => Ok(Column::AgentId),
                ListItem::Own(name) => Err(ListError::Reserved(excerpt(&name))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let extractor = Extractor::new(columns.iter().filter_map(Column::path));
        let members = members(&columns, &extractor);
        Ok(Self { columns, extractor, members })
    }

    /// The items of the list, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The canonical spelling of the list.
    pub fn canonical(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(Column::canonical).collect();
        names.join(",")
    }

    /// The short digest of the list for an ETag.
    pub fn form(&self) -> String {
        form_digest(&self.canonical())
    }

    /// Whether the list has `id`, a member of every row.
    pub fn has_id(&self) -> bool {
        self.columns.iter().any(|column| column.canonical() == "id")
    }

    /// Whether a projected row could be mistaken for a control line, which is an object with exactly one member, whose key
    /// begins with `@`.
    pub fn may_look_like_a_control_line(&self) -> bool {
        let is_own = |member: &OutputMember| match member {
            OutputMember::AgentId => true,
            OutputMember::Value(key, _) | OutputMember::Object(key, _) => key.starts_with("\"@"),
        };
        !self.has_id() && self.members.iter().any(is_own)
    }

    /// Writes these fields of a row, in the order of the list and nested as in the row. Values keep their bytes; fields
    /// that the row does not have are left out.
    ///
    /// # Errors
    /// The row is not a JSON object; then nothing is written.
    pub fn project(&self, row: &[u8], agent: AgentId, out: &mut Vec<u8>) -> Result<(), NotARow> {
        let found = self.extractor.extract(row)?;
        write_object(&self.members, &found, agent, out);
        Ok(())
    }
}

impl Column {
    /// The path of a value of the row.
    pub const fn path(&self) -> Option<&Path> {
        match self {
            Self::AgentId => None,
            Self::Path(path) => Some(path),
        }
    }

    /// The name as given in the list.
    pub fn given(&self) -> &str {
        match self {
            Self::AgentId => AGENT_ID,
            Self::Path(path) => path.given(),
        }
    }

    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::AgentId => AGENT_ID.to_owned(),
            Self::Path(path) => path.canonical(),
        }
    }
}

/// The members of projected rows, in the order of the list.
fn members(columns: &[Column], extractor: &Extractor) -> Vec<OutputMember> {
    let mut members = members_of(extractor.root());
    if let Some(at) = columns.iter().position(|column| *column == Column::AgentId) {
        let first_keys = || columns[..at].iter().filter_map(|column| column.path()?.keys().first());
        let before =
            extractor.root().children.iter().filter(|(key, _)| first_keys().any(|first| first == key));
        let before = before.count();
        members.insert(before, OutputMember::AgentId);
    }
    members
}

fn members_of(node: &Node) -> Vec<OutputMember> {
    let member = |(key, child): &(Box<[u8]>, Node)| {
        let key = json_key(key) + ":";
        match child.slot {
            Some(slot) => OutputMember::Value(key, slot),
            None => OutputMember::Object(key, members_of(child)),
        }
    };
    node.children.iter().map(member).collect()
}

fn write_object(members: &[OutputMember], found: &FoundValues<'_>, agent: AgentId, out: &mut Vec<u8>) {
    let mut before = b'{';
    for member in members {
        let start = out.len();
        out.push(before);
        match member {
            OutputMember::AgentId => out.extend_from_slice(format!("\"{AGENT_ID}\":\"{agent}\"").as_bytes()),
            OutputMember::Value(key, slot) => match found[*slot] {
                Some(value) => {
                    out.extend_from_slice(key.as_bytes());
                    out.extend_from_slice(value.as_bytes());
                }
                None => out.truncate(start),
            },
            OutputMember::Object(key, members) => {
                out.extend_from_slice(key.as_bytes());
                let inside = out.len();
                write_object(members, found, agent, out);
                // An object without any of its fields is left out, even if the row has a value in its place.
                if out.len() == inside + 2 {
                    out.truncate(start);
                }
            }
        }
        if out.len() > start {
            before = b',';
        }
    }
    if before == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}
