use std::collections::HashMap;
use std::sync::Arc;

use bytes::BufMut;

use super::decoder::{Decoder, length_of};
use crate::domain::WordTable;

/// The texts of a cell that is being encoded: each is written once.
#[derive(Default)]
pub(super) struct TextNumbers {
    numbers: HashMap<Box<str>, u32>,
    encoded: Vec<u8>,
}

impl TextNumbers {
    /// Returns the number of a text. Adds the text if it is new.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = length_of(self.numbers.len() + 1);
        self.numbers.insert(text.into(), number);
        self.encoded.put_u32_le(length_of(text.len()));
        self.encoded.put_slice(text.as_bytes());
        number
    }

    /// Returns the number of a text, or 0 for `None`.
    pub(super) fn number_if(&mut self, text: Option<&Arc<str>>) -> u32 {
        text.map_or(0, |text| self.number(text))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(length_of(self.numbers.len()));
        out.put_slice(&self.encoded);
    }
}

/// The texts of a cell that is being decoded.
pub(super) struct NumberedTexts(Vec<Arc<str>>);

impl NumberedTexts {
    pub(super) fn read(cell: &mut Decoder<'_>) -> Option<Self> {
        // Makes rows share the process-wide copies of words that upstream documents.
        let mut words = WordTable::default();
        cell.list(size_of::<u32>(), |cell| cell.text().map(|text| words.word(text))).map(Self)
    }

    /// Returns the text with this number.
    pub(super) fn get(&self, number: u128) -> Option<&Arc<str>> {
        self.0.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Returns `Some(None)` for 0, and otherwise the text with this number.
    pub(super) fn get_if(&self, number: u32) -> Option<Option<Arc<str>>> {
        if number == 0 { Some(None) } else { self.get(number.into()).map(|text| Some(Arc::clone(text))) }
    }
}
