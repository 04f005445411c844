use super::extract::{Extractor, FoundValues, Node, NotARow};
use super::form_digest;
use super::list::{self, ListError, ListItem, excerpt};
use super::path::{Path, json_key};
use crate::domain::AgentId;

/// The name of the asked agent's id in a list of fields.
pub(super) const AGENT_ID: &str = "@agent_id";

/// A list of fields: which values of a row leave, in which order.
#[derive(Clone, Debug)]
pub struct Fields {
    columns: Vec<Column>,
    extractor: Extractor,
    members: Vec<OutputMember>,
}

/// One entry of a list of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The agent that was asked for; no value of the row.
    AgentId,
    /// A value of the row.
    Path(Path),
}

/// A member of the rows that leave.
#[derive(Clone, Debug)]
enum OutputMember {
    AgentId,
    /// Its key with quotes and colon.
    Value(String, usize),
    /// Its key with quotes and colon, and what the object has.
    Object(String, Vec<OutputMember>),
}

/// Two lists are equal if they say the same, however they are spelled.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Fields {}

impl Fields {
    /// Reads the values of `fields`, which follow one another as if they were one list.
    ///
    /// # Errors
    /// If the list is empty, too long, malformed, or names a value twice.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self, ListError> {
        let items = list::parse(values)?;
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

    /// The list, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The one spelling of this list.
    pub fn canonical(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(Column::canonical).collect();
        names.join(",")
    }

    /// The short digest of the list for an ETag.
    pub fn form(&self) -> String {
        form_digest(&self.canonical())
    }

    /// Whether the list has a row's `id`, which every row has.
    pub fn has_id(&self) -> bool {
        self.columns.iter().any(|column| column.canonical() == "id")
    }

    /// Whether a row with these fields could be taken for a control line: an object with exactly one member, whose key
    /// begins with `@`.
    pub fn may_look_like_a_control_line(&self) -> bool {
        let is_own = |member: &OutputMember| match member {
            OutputMember::AgentId => true,
            OutputMember::Value(key, _) | OutputMember::Object(key, _) => key.starts_with("\"@"),
        };
        !self.has_id() && self.members.iter().any(is_own)
    }

    /// Writes a row with these fields only, in their order and with its nesting. Values are the row's own bytes; what
    /// the row does not have is left out.
    ///
    /// # Errors
    /// If the row is not a JSON object; nothing is written then.
    pub fn project(&self, row: &[u8], agent: AgentId, out: &mut Vec<u8>) -> Result<(), NotARow> {
        let found = self.extractor.extract(row)?;
        write_object(&self.members, &found, agent, out);
        Ok(())
    }
}

impl Column {
    /// The path, of a column that is one.
    pub const fn path(&self) -> Option<&Path> {
        match self {
            Self::AgentId => None,
            Self::Path(path) => Some(path),
        }
    }

    /// The name as it was given.
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

/// What rows have, in the order in which the list names it.
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
                // A parent of which nothing was found is left out, whatever the row has in its place.
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
