use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::extract::{Extractor, Node, NotARow};
use super::form_digest;
use super::list::{self, ListError, ListItem, excerpt};

/// A list of the members that are left out of rows.
#[derive(Clone, Debug)]
pub struct Omit {
    canonical: String,
    extractor: Extractor,
}

/// Two lists are equal if they say the same, however they are spelled.
impl PartialEq for Omit {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Omit {}

impl Omit {
    /// Reads the values of `omit`, which follow one another as if they were one list.
    ///
    /// # Errors
    /// If the list is empty, too long, malformed, or names a value twice.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self, ListError> {
        let items = list::parse(values)?;
        list::check_apart(&items)?;
        let mut paths = Vec::with_capacity(items.len());
        for item in items {
            match item {
                ListItem::Path(path) => paths.push(path),
                ListItem::Own(name) => return Err(ListError::Reserved(excerpt(&name))),
            }
        }
        let mut names: Vec<_> = paths.iter().map(super::Path::canonical).collect();
        names.sort();
        Ok(Self { canonical: names.join(","), extractor: Extractor::new(&paths) })
    }

    /// The one spelling of this list, whose order means nothing.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The short digest of the list for an ETag: another than that of the same list of fields.
    pub fn form(&self) -> String {
        form_digest(&format!("omit={}", self.canonical))
    }

    /// Whether the list takes away a row's `id`.
    pub fn takes_id(&self) -> bool {
        self.extractor.root().children.iter().any(|(key, child)| **key == *b"id" && child.slot.is_some())
    }

    /// Writes a row without these members: every occurrence goes, each with one comma, and the rest stays byte for
    /// byte.
    ///
    /// # Errors
    /// If the row is not a JSON object; nothing is written then.
    pub fn apply(&self, row: &[u8], out: &mut Vec<u8>) -> Result<(), NotARow> {
        let text = simdutf8::basic::from_utf8(row).map_err(|_| NotARow)?;
        let mut cuts = Vec::new();
        let cutter = Cutter { node: self.extractor.root(), text, base: 0, cuts: &mut cuts };
        cutter.cut().map_err(|_| NotARow)?;
        let mut at = 0;
        for cut in cuts {
            out.extend_from_slice(&row[at..cut.start]);
            at = cut.end;
        }
        out.extend_from_slice(&row[at..]);
        Ok(())
    }
}

/// Finds what is cut out of one object.
struct Cutter<'n, 'c, 'a> {
    node: &'n Node,
    /// The object.
    text: &'a str,
    /// Where it begins in the row.
    base: usize,
    /// Ranges of the row, in ascending order.
    cuts: &'c mut Vec<Range<usize>>,
}

impl<'a> Cutter<'_, '_, 'a> {
    fn cut(self) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(self.text);
        json.deserialize_map(self)?;
        json.end()
    }

    /// Where a part of the object begins in it.
    fn offset(&self, part: &'a str) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }

    /// Where the comma before a member is: only blanks can be between the two.
    fn comma_before(&self, member: usize) -> usize {
        self.text[..member].rfind(',').unwrap_or(member)
    }
}

impl<'a> Visitor<'a> for Cutter<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // Whether a member stays that stands before this one: then a cut takes the comma before it, else the one after.
        let mut has_kept = false;
        let mut wants_comma = false;
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            let start = self.offset(key.get());
            let after_comma = self.base + self.comma_before(start) + 1;
            if let Some(cut) = self.cuts.last_mut().filter(|_| wants_comma) {
                cut.end = after_comma;
            }
            wants_comma = false;
            let Some(child) = self.node.find(key.get()) else {
                map.next_value::<IgnoredAny>()?;
                has_kept = true;
                continue;
            };
            let value = map.next_value::<&'a RawValue>()?.get();
            let at = self.offset(value);
            if child.slot.is_some() {
                let from = if has_kept { self.comma_before(start) } else { start };
                wants_comma = !has_kept;
                let cut = self.base + from..self.base + at + value.len();
                self.cuts.push(cut);
                continue;
            }
            has_kept = true;
            if value.starts_with('{') {
                let inner = Cutter { node: child, text: value, base: self.base + at, cuts: self.cuts };
                inner.cut().map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}
