use std::cmp::Ordering;
use std::sync::Arc;

use super::SummaryQuestion;
use crate::domain::{ColumnId, NumberCell, NumberColumn, ValueColumn, WordColumn};
use crate::shape::decimal::Summand;
use crate::shape::{Decimal, NotARow, text};

/// The values of some rows that one question needs: a column for each path in `group_by`, and for each summed path.
/// Questions that name the same path share its column.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Columns of words, see [`GroupValue::to_word`].
    keys: Vec<Arc<ValueColumn>>,
    numbers: Vec<Arc<ValueColumn>>,
}

/// A value to group by. Numbers are equal if their literals are, strings if their texts are.
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

/// The group of objects and arrays.
const OTHER: &str = "@other";

impl Facts {
    /// Reads the facts of rows.
    ///
    /// # Errors
    /// A row is not a JSON object.
    pub fn read<'r>(
        question: &SummaryQuestion,
        rows: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Self, NotARow> {
        let slots = &question.slots;
        let mut keys: Vec<Vec<String>> = vec![Vec::new(); slots.keys.len()];
        let mut numbers: Vec<Vec<NumberCell>> = vec![Vec::new(); slots.numbers.len()];
        for row in rows {
            let found = slots.extractor.extract(row)?;
            for (column, &slot) in keys.iter_mut().zip(&slots.keys) {
                column.push(GroupValue::of(found[slot]).to_word());
            }
            for (column, &slot) in numbers.iter_mut().zip(&slots.numbers) {
                column.push(Summand::of(found[slot]).to_cell());
            }
        }
        let keys = keys.into_iter().map(|words| ValueColumn::Words(words.iter().collect()));
        let numbers = numbers.into_iter().map(|cells| ValueColumn::Numbers(cells.into()));
        Ok(Self { keys: keys.map(Arc::new).collect(), numbers: numbers.map(Arc::new).collect() })
    }

    /// Facts from columns in the order of [`SummaryQuestion::columns`].
    pub fn of_columns(question: &SummaryQuestion, mut columns: Vec<Arc<ValueColumn>>) -> Self {
        let numbers = columns.split_off(question.slots.keys.len().min(columns.len()));
        Self { keys: columns, numbers }
    }

    /// The columns, with their ids.
    pub fn columns(&self, question: &SummaryQuestion) -> impl Iterator<Item = (ColumnId, &Arc<ValueColumn>)> {
        question.columns().iter().copied().zip(self.keys.iter().chain(&self.numbers))
    }

    /// The columns of the paths in `group_by`.
    pub(super) fn keys(&self) -> impl Iterator<Item = &WordColumn> {
        self.keys.iter().filter_map(|column| match &**column {
            ValueColumn::Words(words) => Some(words),
            ValueColumn::Numbers(_) => None,
        })
    }

    /// The columns of the summed paths, followed by that of the histogram.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &NumberColumn> {
        self.numbers.iter().filter_map(|column| match &**column {
            ValueColumn::Numbers(numbers) => Some(numbers),
            ValueColumn::Words(_) => None,
        })
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

    /// The word for a column of words.
    fn to_word(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Number(literal) => format!("#{literal}"),
            Self::Text(text) => format!("\"{text}"),
        }
    }

    /// The inverse of [`to_word`](Self::to_word).
    pub(super) fn of_word(word: &str) -> Self {
        match (word, word.strip_prefix('#'), word.strip_prefix('"')) {
            (_, Some(literal), _) => Self::Number(literal.into()),
            (_, _, Some(text)) => Self::Text(text.into()),
            ("true", ..) => Self::Bool(true),
            ("false", ..) => Self::Bool(false),
            _ => Self::Null,
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

/// Null, false, true, numbers by size, texts.
impl Ord for GroupValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => {
                let size = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
                let sizes = size(a).total_cmp(&size(b));
                // Doubles don't distinguish large integers.
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
