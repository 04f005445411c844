use std::cmp::Ordering;
use std::collections::HashMap;

use super::SummaryQuestion;
use crate::shape::decimal::Summand;
use crate::shape::{Decimal, NotARow, text};

/// What the totals of one question need of some rows, in the order of the rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The different group keys of the rows.
    pub(super) tuples: Vec<Box<[GroupValue]>>,
    /// For each row, which of them it has.
    pub(super) tuple_of: Vec<u32>,
    /// For each path that is summed.
    pub(super) columns: Vec<PathValues>,
}

/// The values of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct PathValues {
    numbers: Vec<Decimal>,
    kinds: Vec<ValueKind>,
}

#[derive(Clone, Copy, Debug)]
enum ValueKind {
    Nothing,
    Skipped,
    Number,
}

/// A value that groups are made by. Numbers are compared by their literals, strings by their text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupValue {
    /// Null, or absent.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The literal of a number.
    Number(Box<str>),
    /// The text of a string, or its literal if it can't be decoded; `@other` for an object or an array.
    Text(Box<str>),
}

/// The key of objects and arrays.
const OTHER: &str = "@other";

impl Facts {
    /// Reads the facts of rows.
    ///
    /// # Errors
    /// If one of them is not a JSON object.
    pub fn read<'r>(
        question: &SummaryQuestion,
        rows: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Self, NotARow> {
        let slots = &question.slots;
        let mut facts = Self {
            tuples: Vec::new(),
            tuple_of: Vec::new(),
            columns: vec![PathValues::default(); slots.numbers.len()],
        };
        let mut known: HashMap<Box<[GroupValue]>, u32> = HashMap::new();
        for row in rows {
            let found = slots.extractor.extract(row)?;
            let tuple: Box<[GroupValue]> =
                slots.keys.iter().map(|&slot| GroupValue::of(found[slot])).collect();
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let at = *known.entry(tuple).or_insert_with_key(|tuple| {
                facts.tuples.push(tuple.clone());
                next
            });
            facts.tuple_of.push(at);
            for (column, &slot) in facts.columns.iter_mut().zip(&slots.numbers) {
                column.push(Summand::of(found[slot]));
            }
        }
        Ok(facts)
    }

    /// How many rows these are of.
    pub fn len(&self) -> usize {
        self.tuple_of.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.tuple_of.is_empty()
    }

    /// About how many bytes of memory they take.
    pub fn weight(&self) -> usize {
        let keys: usize =
            self.tuples.iter().flatten().map(|key| size_of::<GroupValue>() + key.text_length()).sum();
        let row = size_of::<u32>() + self.columns.len() * (size_of::<Decimal>() + size_of::<ValueKind>());
        size_of::<Self>() + keys + self.tuples.len() * size_of::<Box<[GroupValue]>>() + self.len() * row
    }
}

impl PathValues {
    fn push(&mut self, summand: Summand) {
        let (number, kind) = match summand {
            Summand::Nothing => (Decimal::ZERO, ValueKind::Nothing),
            Summand::Skipped => (Decimal::ZERO, ValueKind::Skipped),
            Summand::Number(number) => (number, ValueKind::Number),
        };
        self.numbers.push(number);
        self.kinds.push(kind);
    }

    /// The value of a row.
    pub(super) fn get(&self, row: usize) -> Summand {
        match self.kinds.get(row) {
            None | Some(ValueKind::Nothing) => Summand::Nothing,
            Some(ValueKind::Skipped) => Summand::Skipped,
            Some(ValueKind::Number) => Summand::Number(self.numbers[row]),
        }
    }
}

impl GroupValue {
    fn of(value: Option<&str>) -> Self {
        match value {
            None | Some("null") => Self::Null,
            Some("true") => Self::Bool(true),
            Some("false") => Self::Bool(false),
            Some(value) if value.starts_with(['{', '[']) => Self::Text(OTHER.into()),
            Some(value) if value.starts_with('"') => {
                Self::Text(text::of_string(value).map_or_else(|| value.into(), Into::into))
            }
            Some(number) => Self::Number(number.into()),
        }
    }

    const fn text_length(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(text) | Self::Text(text) => text.len(),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

/// Null, then false and true, then numbers by size, then texts.
impl Ord for GroupValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => {
                let size = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
                let sizes = size(a).total_cmp(&size(b));
                // Doubles can't tell large integers apart.
                sizes.then_with(|| Decimal::parse(a).cmp(&Decimal::parse(b))).then_with(|| a.cmp(b))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for GroupValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
