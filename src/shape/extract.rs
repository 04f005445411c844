//! Finds values of a row by their paths, without decoding the rest.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::path::Path;
use super::text;

/// The bytes are not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object")]
pub struct NotARow;

/// Finds the values at a set of paths. Of a repeated key the last value counts, at every level.
///
/// Recursion is bounded by [`Path::MOST_KEYS`], however deep a row nests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extractor {
    root: Node,
}

/// The keys to look for in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The slot of the value itself, if a path ends here.
    pub(super) slot: Option<usize>,
    /// The slots of this node and of all nodes below it.
    pub(super) slots: Range<usize>,
    /// The children by key, in the order in which the paths first name them.
    pub(super) children: Vec<(Box<[u8]>, Node)>,
}

/// Values by slot, as slices of the row.
pub(super) type FoundValues<'a> = Vec<Option<&'a str>>;

impl Extractor {
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut root = Node::default();
        for path in paths {
            let mut node = &mut root;
            for key in path.keys() {
                node = node.child(key);
            }
            // Numbered below.
            node.slot = Some(0);
        }
        root.number(0);
        Self { root }
    }

    /// The slot of a path, if the extractor was created with it.
    pub(super) fn slot(&self, path: &Path) -> Option<usize> {
        let mut node = &self.root;
        for key in path.keys() {
            node = &node.children.iter().find(|(name, _)| name == key)?.1;
        }
        node.slot
    }

    pub(super) const fn root(&self) -> &Node {
        &self.root
    }

    /// The values of a row.
    ///
    /// # Errors
    /// The row is not a JSON object.
    pub(super) fn extract<'a>(&self, row: &'a [u8]) -> Result<FoundValues<'a>, NotARow> {
        let mut found = vec![None; self.root.slots.len()];
        let mut json = serde_json::Deserializer::from_slice(row);
        let members = Members { node: &self.root, found: &mut found };
        members.deserialize(&mut json).and_then(|()| json.end()).map_err(|_| NotARow)?;
        Ok(found)
    }
}

impl Node {
    fn child(&mut self, key: &[u8]) -> &mut Self {
        let at = self.index(key).unwrap_or_else(|| {
            self.children.push((key.into(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    fn index(&self, key: &[u8]) -> Option<usize> {
        self.children.iter().position(|(name, _)| **name == *key)
    }

    /// The child of a key, given as a JSON string. Keys are compared as bytes, because half a surrogate pair can be escaped
    /// in JSON but is not valid UTF-8.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        let decoded;
        let name = match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => plain.as_bytes(),
            _ => {
                decoded = text::bytes_of(&mut serde_json::Deserializer::from_str(key)).ok()?;
                &decoded
            }
        };
        self.index(name).map(|at| &self.children[at].1)
    }

    /// Numbers the slots of this node and of all nodes below it, from `first` on; returns the next free number.
    fn number(&mut self, first: usize) -> usize {
        let mut next = first;
        if let Some(slot) = &mut self.slot {
            *slot = next;
            next += 1;
        }
        for (_, child) in &mut self.children {
            next = child.number(next);
        }
        self.slots = first..next;
        next
    }
}

/// Reads the members of an object into slots.
struct Members<'n, 'f, 'a> {
    node: &'n Node,
    found: &'f mut FoundValues<'a>,
}

impl<'a> DeserializeSeed<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            match self.node.find(key.get()) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(child) => {
                    let value = map.next_value::<&'a RawValue>()?.get();
                    take(child, value, self.found).map_err(A::Error::custom)?;
                }
            }
        }
        Ok(())
    }
}

/// Puts a value into the slots of a node, and clears what an earlier member with the same key left there.
fn take<'a>(node: &Node, value: &'a str, found: &mut FoundValues<'a>) -> Result<(), serde_json::Error> {
    found[node.slots.clone()].fill(None);
    if let Some(slot) = node.slot {
        found[slot] = Some(value);
    }
    if node.children.is_empty() || !value.starts_with('{') {
        return Ok(());
    }
    Members { node, found }.deserialize(&mut serde_json::Deserializer::from_str(value))
}
