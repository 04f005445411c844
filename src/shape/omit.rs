use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::extract::{Extractor, Node, NotARow};
use super::form_digest;
use super::list::{self, ListError, MOST_PATHS};
use super::path::Path;

/// A list of members to leave out of rows.
///
/// Lists are equal if they mean the same, whatever their spelling and order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omit {
    canonical: String,
    extractor: Extractor,
}

impl Omit {
    /// Parses the values of `omit`, which together form one list.
    ///
    /// # Errors
    /// The list is empty, too long, malformed, or names a value twice.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self, ListError> {
        let items = list::parse(values, MOST_PATHS)?;
        list::check_apart(&items)?;
        let mut paths = list::only_paths(items)?;
        paths.sort_by_cached_key(Path::canonical);
        let names: Vec<_> = paths.iter().map(Path::canonical).collect();
        Ok(Self { canonical: names.join(","), extractor: Extractor::new(&paths) })
    }

    /// The canonical spelling of the list, which is sorted.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The short digest of the list for an ETag. It differs from [`Fields::form`](super::Fields::form) of the same list.
    pub fn form(&self) -> String {
        form_digest(&format!("omit={}", self.canonical))
    }

    /// Whether the list removes `id`.
    pub fn takes_id(&self) -> bool {
        self.extractor.root().children.iter().any(|(key, child)| **key == *b"id" && child.slot.is_some())
    }

    /// Writes a row without these members. Removes every occurrence together with one comma; all other bytes stay.
    ///
    /// # Errors
    /// The row is not a JSON object; then nothing is written.
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

/// Finds the ranges to cut out of one object.
struct Cutter<'n, 'c, 'a> {
    node: &'n Node,
    /// The bytes of the object.
    text: &'a str,
    /// The offset of the object in the row.
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

    /// The offset of a part of the object in the object.
    fn offset(&self, part: &'a str) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }

    /// The offset of the comma before a member: only blanks can be between the two.
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
        // A cut takes the comma before its member if an earlier member stays, else the comma after it.
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
