//! Values found in a row by their paths, without reading the rest.

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

/// Finds the values at a set of paths. Of a doubled key the last counts, at every level.
///
/// Of other values nothing is kept. Nesting costs no stack: only the keys of paths, at most eight, are followed.
#[derive(Clone, Debug)]
pub(super) struct Extractor {
    root: Node,
}

/// What is looked for in one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Where the value itself goes, if a path ends here.
    pub(super) slot: Option<usize>,
    /// The slots of this node and of all below it.
    pub(super) slots: Range<usize>,
    /// By key, in the order in which the paths first name them.
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

    /// The slot of a path that this was made with.
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
    /// If the row is not a JSON object.
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

    /// What is looked for at a key, given as JSON. Keys are compared as bytes: some can be escaped but are no text.
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

    /// Numbers the slots of this node and of those below it, so that they follow one another.
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

/// Reads an object into slots.
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

/// Puts a value where it belongs, and forgets what an earlier member of the same key had.
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
