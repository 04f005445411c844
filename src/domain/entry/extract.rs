//! Extracts, made from an entry's rows on demand: selected fields, table lines, the values that totals need.
//!
//! An extract belongs to its entry and is dropped with it. Like the other derived forms, it is kept while there is room.

use std::any::Any;
use std::io;
use std::sync::Arc;

use super::forms::{Forms, USUAL_RATIO};
use super::{Entry, Holders, breaks_lines};

/// Whether line breaks in rewritten rows are between JSON tokens and can be replaced by spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineBreaks {
    /// Line breaks can be replaced: rows are JSON.
    BetweenTokens,
    /// Line breaks must stay: rows are text in which every byte matters, such as lines of a table.
    InText,
}

impl Entry {
    /// Whether [`extract`](Self::extract) has nothing to do.
    pub fn has_extract(&self, name: &str) -> bool {
        self.forms.has_extract(name)
    }

    /// Returns the extract of this name: the one that is kept, or a new one, which is kept if there is room. `make` returns it
    /// with its weight in bytes. A name always stands for the same extract of the same type.
    ///
    /// # Errors
    /// If `make` fails.
    pub fn extract<T: Any + Send + Sync>(
        &self,
        name: &Arc<str>,
        make: impl FnOnce() -> io::Result<(T, usize)>,
    ) -> io::Result<Arc<T>> {
        if let Some(kept) = self.forms.extract(name) {
            return Ok(kept);
        }
        let (extract, bytes) = make()?;
        let extract = Arc::new(extract);
        self.forms.keep_extract(name, Arc::clone(&extract) as Arc<dyn Any + Send + Sync>, bytes);
        Ok(extract)
    }

    /// Passes the bytes of every row, newest first, to `read`.
    ///
    /// # Errors
    /// As [`plain`](Self::plain).
    pub fn read_rows<T>(
        &self,
        read: impl for<'r> FnOnce(&mut (dyn Iterator<Item = &'r [u8]> + 'r)) -> T,
    ) -> io::Result<T> {
        let lines = self.forms.lines()?;
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        let mut rows = starts.zip(&self.ends).map(|(start, &end)| &lines[start..end]);
        Ok(read(&mut rows))
    }

    /// The same rows with other bytes: `write` gets each row's bytes and appends their replacement.
    ///
    /// The facts about the rows stay the same, including their digests, which identify upstream's rows in any form.
    ///
    /// # Errors
    /// If `write` fails, and as [`plain`](Self::plain).
    pub fn rewritten(
        &self,
        line_breaks: LineBreaks,
        mut write: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(self.ends.len());
        let mut has_line_breaks = false;
        self.read_rows(|rows| {
            for row in rows {
                let start = bytes.len();
                write(row, &mut bytes)?;
                has_line_breaks |= line_breaks == LineBreaks::BetweenTokens && breaks_lines(&bytes[start..]);
                ends.push(bytes.len());
                bytes.push(b'\n');
            }
            Ok::<_, io::Error>(())
        })??;
        bytes.shrink_to_fit();
        Ok(Self {
            index: Arc::clone(&self.index),
            ends: ends.into(),
            has_line_breaks,
            forms: Forms::of(bytes.into()),
            columns: Box::default(),
            holders: Holders::default(),
        })
    }

    /// The bytes in memory that rewritten rows take in addition to the original rows, once they are deflated.
    pub fn rewritten_weight(&self) -> usize {
        let plain = self.byte_len();
        Self::SIZE + size_of_val(&*self.ends) + plain + plain / USUAL_RATIO
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{derived_budget, entry};
    use super::*;
    use crate::deflate::Separator;
    use crate::domain::EntrySlice;

    fn first_five(row: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(&row[..5]);
        Ok(())
    }

    #[test]
    fn an_extract_is_made_once_and_kept_while_there_is_room() {
        let derived_budget = derived_budget(1 << 20);
        let entry = entry(3, &derived_budget);
        let name: Arc<str> = "count".into();
        let before = derived_budget.stats().kept;
        let first = entry.extract(&name, || Ok((entry.rows().len(), 100))).unwrap();
        assert_eq!((*first, derived_budget.stats().kept - before), (3, 100));
        let again =
            entry.extract(&name, || Err::<(usize, usize), _>(io::Error::other("made twice"))).unwrap();
        assert!(Arc::ptr_eq(&first, &again) && entry.has_extract(&name));
        derived_budget.set_most(0);
        assert!(!entry.has_extract(&name));
        drop(entry);
        assert_eq!(derived_budget.stats().kept, 0);
    }

    #[test]
    fn an_entry_keeps_the_latest_few_extracts() {
        let derived_budget = derived_budget(1 << 20);
        let entry = entry(1, &derived_budget);
        let names: Vec<Arc<str>> = (0..20).map(|number| format!("{number}").into()).collect();
        names.iter().for_each(|name| drop(entry.extract(name, || Ok(((), 1))).unwrap()));
        let kept: Vec<_> = names.iter().filter(|name| entry.has_extract(name)).map(|name| &**name).collect();
        assert_eq!(kept, ["12", "13", "14", "15", "16", "17", "18", "19"]);
    }

    #[test]
    fn rewritten_rows_keep_their_places_and_digests() {
        let entry = entry(20, &derived_budget(1 << 20));
        let short = Arc::new(entry.rewritten(LineBreaks::BetweenTokens, first_five).unwrap());
        assert_eq!(&short.plain(Separator::Line).unwrap()[..12], b"{\"id\"\n{\"id\"\n");
        let some = |entry: &Arc<Entry>| EntrySlice::all(Arc::clone(entry), 3..7).unwrap();
        assert_eq!((some(&short).byte_len(), some(&short).len()), (24, 4));
        assert_eq!(some(&short).digest(), some(&entry).digest());
        assert_eq!(short.digest(), entry.digest());
        let deflated = short.deflated().unwrap();
        assert_eq!(deflated.inflate().unwrap(), short.plain(Separator::Line).unwrap());
    }

    #[test]
    fn only_line_breaks_between_tokens_may_become_spaces() {
        let entry = entry(2, &derived_budget(1 << 20));
        let broken = |_: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(b"a\nb");
            Ok(())
        };
        let has_breaks = |kind| entry.rewritten(kind, broken).unwrap().has_line_breaks();
        assert!(has_breaks(LineBreaks::BetweenTokens) && !has_breaks(LineBreaks::InText));
    }
}
