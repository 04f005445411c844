//! The formats of records before they are [sealed](super::Sealer): version 1 of cells and rows, and the only version of marks.
//!
//! # Notation
//! Integers are little-endian: `u8`, `u16`, `u32`, `u64`, `u128`, `i64`. An *instant* is an `i64`, microseconds since 1970 UTC within
//! the years −9999 to 9999. A *list* is its length (`u32`) and that many items. A *section* is its length in bytes (`u32`) and
//! that many bytes. A *text* is a section of UTF-8. A record ends with its last field.
//!
//! # Cell
//! What is known of a scope in one week ([`crate::tier::Cell`]).
//!
//! | field | |
//! |---|---|
//! | week | `i64`, weeks since 1970 |
//! | texts | list of texts, each once |
//! | entries | list of entries |
//! | segments | list of segments |
//! | head | list of at most one head: the latest read that reached the present |
//!
//! An entry:
//!
//! | field | |
//! |---|---|
//! | number | `u128`, of its key |
//! | rows | list of rows, newest first |
//! | totals | section; written empty, and its content is skipped |
//!
//! A row takes 77 bytes:
//!
//! | field | |
//! |---|---|
//! | id | the 16 bytes of a UUID that upstream writes in lowercase with dashes; otherwise a `u128`, the number of a text |
//! | digest | `u128`, the first half of the SHA-256 of its bytes, read big-endian |
//! | created, changed, read | three instants: its place in the order, its last change, when it was read |
//! | length | `u32`, of its bytes without a separator |
//! | status, call type, provider, batch | four `u32`: numbers of texts |
//! | flags | `u8`: 1 its date is upstream's, 2 its id is a text, 4 it is in no batch, 8 it says whether voice mail answered, 16 voice mail answered, 32 upstream has shown since that the row changed |
//!
//! Texts are numbered from 1; 0 stands for a value that the row does not have. Flag 4 excludes a batch, flag 16 requires flag 8,
//! and other bits are 0. No row is newer than the previous one, no id repeats in an entry, and no two entries have the same number.
//!
//! A segment takes 44 bytes:
//!
//! | field | |
//! |---|---|
//! | from, to | two instants, both inclusive |
//! | first read, last read | two instants: when its parts were read |
//! | entry | `u32`, the position of its entry counted from 1, or 0 if it has no rows; bit 31 is set if rows may be missing, since it was read too soon after its end |
//! | start, end | two `u32`: the positions of its rows in the entry, the end exclusive; both 0 if it has no rows |
//!
//! Segments are within the week, newest first, and do not overlap. A segment's rows were created within it, and its first read is
//! not later than its last.
//!
//! A head has two instants: the last instant that it asked for, which is in the week, and when that was the present. A `u32`
//! follows: 0 if nothing is known of the agent, 1 if its creation date is unknown, 2 if an instant with that date follows.
//!
//! # Rows
//! The bytes of an entry ([`crate::domain::Entry`]).
//!
//! | field | |
//! |---|---|
//! | belongs to | 16 bytes: the first half of the SHA-256 over digest and length (as in a cell) of every row |
//! | flags | `u8`: 1 rows contain line breaks, 2 the blocks can be sent |
//! | effort | `u8`: 1 for rows as they arrived, 2 for those deflated harder |
//! | checksums | two `u32`: CRC-32 of the rows with line feeds between them, and with commas |
//! | length | `u64`, of the rows with a line feed after each |
//! | seams | list of `u32`: positions of separators in the blocks, ascending |
//! | blocks | the rest: a raw deflate stream without a last block, see [`crate::deflate`] |
//!
//! Where rows end follows from the lengths in the cell. At least one flag is set. With flag 2 there is a seam for each row, or at
//! effort 2 one for the first and one for the last row; without flag 2 there are none. At each seam there is a line feed in a
//! stored block of its own, and the last of these ends the blocks. The blocks take at least a 1032nd of the length.
//!
//! # Marks
//! | field | |
//! |---|---|
//! | marks | list of a name (16 bytes, see [`super::TierNames::voided`]) and an instant: what was read before it is void |
//!
//! # Reading
//! A record that breaks a rule is treated as absent. No field can make a reader allocate more than a small multiple of the
//! record's size.

mod cell;
mod decoder;
mod marks;
mod rows;
mod texts;

pub use cell::{decode_cell, encode_cell};
pub use marks::{decode_marks, encode_marks};
pub use rows::{decode_rows, encode_rows};

#[cfg(test)]
mod tests;
