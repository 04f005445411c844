//! Columns: the value of one path in every row of an entry, in a few bytes per row.

use std::collections::HashMap;

/// Identifies the values of a column in every process: a digest of the path and of how its values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ColumnId([u8; 16]);

/// The value of one path in every row of an entry. Depends only on the rows' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueColumn {
    /// Numbers to be added up.
    Numbers(NumberColumn),
    /// Words to group by.
    Words(WordColumn),
}

/// Numbers, 9 bytes a row; 17 if one of them is large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberColumn {
    kinds: Box<[NumberKind]>,
    numbers: PackedNumbers,
}

/// The value of a row in a column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberCell {
    /// The row has none.
    Absent,
    /// A value that can't be added up.
    Skipped,
    /// A number, in the unit of the column.
    Number(i128),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberKind {
    Absent,
    Skipped,
    Number,
}

/// The numbers of all rows, 0 where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PackedNumbers {
    Narrow(Box<[i64]>),
    Wide(Box<[i128]>),
}

/// Words: each distinct one once, and 1 byte per row; 4 bytes if there are more than 256 distinct words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordColumn {
    words: Box<[Box<str>]>,
    numbers: WordNumbers,
}

/// For each row, the position of its word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WordNumbers {
    Few(Box<[u8]>),
    Many(Box<[u32]>),
}

/// The bytes that the allocator adds to a block.
const ALLOCATION: usize = 16;

impl ColumnId {
    /// Names a column by a digest.
    pub const fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }
}

impl ValueColumn {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(column) => column.kinds.len(),
            Self::Words(column) => match &column.numbers {
                WordNumbers::Few(numbers) => numbers.len(),
                WordNumbers::Many(numbers) => numbers.len(),
            },
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in memory that it takes.
    pub fn weight(&self) -> usize {
        let values = match self {
            Self::Numbers(NumberColumn { kinds, numbers }) => {
                let numbers = match numbers {
                    PackedNumbers::Narrow(numbers) => size_of_val(&**numbers),
                    PackedNumbers::Wide(numbers) => size_of_val(&**numbers),
                };
                numbers + size_of_val(&**kinds)
            }
            Self::Words(WordColumn { words, numbers }) => {
                let numbers = match numbers {
                    WordNumbers::Few(numbers) => size_of_val(&**numbers),
                    WordNumbers::Many(numbers) => size_of_val(&**numbers),
                };
                numbers
                    + words.iter().map(|word| size_of::<Box<str>>() + ALLOCATION + word.len()).sum::<usize>()
            }
        };
        size_of::<Self>() + 3 * ALLOCATION + values
    }

    /// A column of rows from other columns of the same id, each given by its column and its position there;
    /// `None` if the columns have different kinds of values.
    pub(super) fn gather(rows: &[(&Self, usize)]) -> Option<Self> {
        match rows.first()?.0 {
            Self::Numbers(_) => {
                let cells = rows.iter().map(|&(column, row)| match column {
                    Self::Numbers(column) => Some(column.get(row)),
                    Self::Words(_) => None,
                });
                cells.collect::<Option<Vec<_>>>().map(|cells| Self::Numbers(cells.into()))
            }
            Self::Words(_) => {
                let words = rows.iter().map(|&(column, row)| match column {
                    Self::Words(column) => Some(column.get(row)),
                    Self::Numbers(_) => None,
                });
                words.collect::<Option<WordColumn>>().map(Self::Words)
            }
        }
    }
}

impl NumberColumn {
    /// The value of a row.
    pub fn get(&self, row: usize) -> NumberCell {
        match self.kinds.get(row) {
            None | Some(NumberKind::Absent) => NumberCell::Absent,
            Some(NumberKind::Skipped) => NumberCell::Skipped,
            Some(NumberKind::Number) => NumberCell::Number(match &self.numbers {
                PackedNumbers::Narrow(numbers) => numbers[row].into(),
                PackedNumbers::Wide(numbers) => numbers[row],
            }),
        }
    }
}

impl From<Vec<NumberCell>> for NumberColumn {
    fn from(cells: Vec<NumberCell>) -> Self {
        let number = |cell: &NumberCell| match cell {
            NumberCell::Number(number) => *number,
            NumberCell::Absent | NumberCell::Skipped => 0,
        };
        let kind = |cell: &NumberCell| match cell {
            NumberCell::Absent => NumberKind::Absent,
            NumberCell::Skipped => NumberKind::Skipped,
            NumberCell::Number(_) => NumberKind::Number,
        };
        let narrow: Result<Box<[i64]>, _> = cells.iter().map(|cell| i64::try_from(number(cell))).collect();
        let numbers = match narrow {
            Ok(numbers) => PackedNumbers::Narrow(numbers),
            Err(_) => PackedNumbers::Wide(cells.iter().map(number).collect()),
        };
        Self { kinds: cells.iter().map(kind).collect(), numbers }
    }
}

impl WordColumn {
    /// The distinct words.
    pub const fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// The position of a row's word among the distinct ones.
    pub fn number(&self, row: usize) -> usize {
        match &self.numbers {
            WordNumbers::Few(numbers) => usize::from(numbers[row]),
            WordNumbers::Many(numbers) => numbers[row] as usize,
        }
    }

    fn get(&self, row: usize) -> &str {
        &self.words[self.number(row)]
    }
}

impl<W: AsRef<str>> FromIterator<W> for WordColumn {
    fn from_iter<I: IntoIterator<Item = W>>(rows: I) -> Self {
        let (mut words, mut known): (Vec<Box<str>>, HashMap<Box<str>, u32>) = Default::default();
        let number = |word: W| {
            let word = word.as_ref();
            if let Some(&number) = known.get(word) {
                return number;
            }
            // An entry has far fewer rows than `u32::MAX`.
            let number = u32::try_from(words.len()).unwrap_or(u32::MAX);
            words.push(word.into());
            known.insert(word.into(), number);
            number
        };
        let numbers: Vec<u32> = rows.into_iter().map(number).collect();
        let few: Result<Box<[u8]>, _> = numbers.iter().map(|&number| u8::try_from(number)).collect();
        let numbers = few.map_or_else(|_| WordNumbers::Many(numbers.into()), WordNumbers::Few);
        Self { words: words.into(), numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(cells: &[NumberCell]) -> ValueColumn {
        ValueColumn::Numbers(cells.to_vec().into())
    }

    fn words(rows: &[&str]) -> ValueColumn {
        ValueColumn::Words(rows.iter().collect())
    }

    #[test]
    fn a_number_takes_nine_bytes_and_a_large_one_seventeen() {
        use NumberCell::{Absent, Number, Skipped};
        for (large, bytes) in [(i128::from(i64::MAX), 9), (i128::from(i64::MAX) + 1, 17), (i128::MIN, 17)] {
            let cells = [Number(-1), Absent, Number(large), Skipped, Number(0)];
            let column = numbers(&cells);
            assert_eq!(column.weight() - numbers(&[]).weight(), cells.len() * bytes);
            let ValueColumn::Numbers(column) = column else { panic!() };
            assert_eq!(cells.map(Some), std::array::from_fn(|row| Some(column.get(row))));
        }
    }

    #[test]
    fn a_word_is_kept_once_and_takes_a_byte_a_row() {
        let rows: Vec<_> = (0..300).map(|row| format!("word {}", row % 3)).collect();
        let column: WordColumn = rows.iter().collect();
        assert_eq!(column.words().len(), 3);
        assert!((0..300).all(|row| column.get(row) == rows[row]));
        assert!(ValueColumn::Words(column).weight() < 300 + 400);
        let many: Vec<_> = (0..300).map(|row| row.to_string()).collect();
        let column: WordColumn = many.iter().collect();
        assert!((0..300).all(|row| column.get(row) == many[row]));
    }

    #[test]
    fn rows_are_gathered_from_several_columns() {
        let (one, two) = (words(&["a", "b"]), words(&["b", "c"]));
        assert_eq!(
            ValueColumn::gather(&[(&two, 1), (&one, 0), (&two, 0), (&one, 1)]),
            Some(words(&["c", "a", "b", "b"]))
        );
        let (narrow, wide) = (numbers(&[NumberCell::Number(1)]), numbers(&[NumberCell::Number(i128::MAX)]));
        let both = numbers(&[NumberCell::Number(i128::MAX), NumberCell::Number(1)]);
        assert_eq!(ValueColumn::gather(&[(&wide, 0), (&narrow, 0)]), Some(both));
        assert_eq!(ValueColumn::gather(&[(&one, 0), (&wide, 0)]), None);
        assert_eq!(ValueColumn::gather(&[]), None);
    }
}
