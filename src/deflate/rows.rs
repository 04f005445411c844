use std::io;

use bytes::Bytes;

use super::codec::{deflate, inflate};
use super::{Shift, stored, stored_len};

/// The byte between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// A line feed: one row per line.
    Line,
    /// A comma: rows as elements of an array.
    Comma,
}

impl Separator {
    /// The byte itself.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Line => b'\n',
            Self::Comma => b',',
        }
    }
}

/// The compression effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// For rows as they arrive: level 1. Level 3 takes 2.3 times as long, and its output is a third smaller.
    Arrival,
    /// For idle time: level 6, which takes three times as long as level 1, and its output is half as large.
    Idle,
}

impl Effort {
    /// The zlib level.
    pub const fn level(self) -> u32 {
        match self {
            Self::Arrival => 1,
            Self::Idle => 6,
        }
    }
}

/// Deflated rows with a separator after each.
///
/// # Invariants
/// The blocks end on a byte boundary, and none is marked as the last. They inflate to the rows with a line feed after each or,
/// once the bytes at `seams` are overwritten by commas, with a comma after each. The block of the last separator comes last,
/// so that it can be left out.
#[derive(Debug)]
pub struct Deflated {
    parts: DeflatedParts,
    shift: Shift,
}

/// The parts of deflated rows, for storage beyond this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflatedParts {
    /// The blocks, with line feeds between the rows.
    pub blocks: Bytes,
    /// The positions of separators in the blocks; `None` if rows contain line feeds, so that the blocks can't be sent.
    pub seams: Option<Box<[u32]>>,
    /// The CRC-32 of the rows with line feeds between them.
    pub lines_crc: u32,
    /// The CRC-32 of the rows with commas between them.
    pub commas_crc: u32,
    /// The number of inflated bytes, including the last separator.
    pub len: usize,
    /// The compression effort used.
    pub effort: Effort,
}

/// The most bytes that a byte of a deflate stream can inflate to: a repetition of 258 bytes takes at least two bits.
const MOST_INFLATED: usize = 1032;

impl Deflated {
    /// The number of bytes of the last separator's block.
    pub const LAST_SEPARATOR: usize = stored_len(1);

    /// Restores rows from parts that were stored; `None` if the parts are not valid.
    ///
    /// Without inflating, checks what could send a wrong byte or take much memory: that there is a separator at each seam, and
    /// that the blocks can inflate to `len` bytes.
    pub fn from_parts(parts: DeflatedParts, rows: usize) -> Option<Self> {
        let DeflatedParts { blocks, seams, len, effort, .. } = &parts;
        let has_length = *len >= rows && (rows > 0 || *len == 0);
        let is_possible = *len <= blocks.len().saturating_mul(MOST_INFLATED);
        let has_seams = seams.as_deref().is_none_or(|seams| {
            let are_all = seams.len() == rows;
            let are_first_and_last = *effort > Effort::Arrival && rows > 2 && seams.len() == 2;
            let last = seams.last().map_or(0, |last| *last as usize + 1);
            (are_all || are_first_and_last)
                && (rows == 0 || last == blocks.len())
                && seams.is_sorted_by(|one, next| one < next)
                && seams.iter().all(|&seam| is_separator(blocks, seam as usize))
        });
        let shift = Shift::of(len.saturating_sub(1));
        (has_length && is_possible && has_seams).then_some(Self { parts, shift })
    }

    /// The parts of the deflated rows.
    pub const fn parts(&self) -> &DeflatedParts {
        &self.parts
    }

    /// Deflates rows. `lines` has a line feed after each row, at the positions in `ends`.
    ///
    /// # Errors
    /// None in practice, because the encoder writes into memory.
    pub fn new(lines: &[u8], ends: &[usize], effort: Effort) -> io::Result<Self> {
        let commas = with_commas(lines, ends);
        let sum = |blocks: Vec<u8>, seams: Option<Vec<u32>>| {
            let crc = |bytes: &[u8]| crc32fast::hash(&bytes[..bytes.len().saturating_sub(1)]);
            let (lines_crc, commas_crc) = (crc(lines), crc(&commas));
            let (seams, len) = (seams.map(Vec::into_boxed_slice), lines.len());
            let parts = DeflatedParts { blocks: exact(blocks), seams, lines_crc, commas_crc, len, effort };
            Self { parts, shift: Shift::of(len.saturating_sub(1)) }
        };
        let line_feeds = lines.iter().filter(|&&byte| byte == b'\n').count();
        if line_feeds != ends.len() {
            return Ok(sum(segments(lines, &[], effort)?.0, None));
        }
        if effort > Effort::Arrival
            && let &[first, _, .., last] = ends
        {
            let (blocks, seams) = segments(lines, &[first, last], effort)?;
            let mut written_over = blocks.clone();
            write_over(&mut written_over, &seams, Separator::Comma);
            if inflate(&written_over, lines.len())? == commas {
                return Ok(sum(blocks, Some(seams)));
            }
        }
        let (blocks, seams) = segments(lines, ends, effort)?;
        Ok(sum(blocks, Some(seams)))
    }

    /// Whether the blocks can be sent.
    pub const fn is_sendable(&self) -> bool {
        self.parts.seams.is_some()
    }

    /// The number of bytes of the blocks.
    pub const fn deflated_len(&self) -> usize {
        self.parts.blocks.len()
    }

    /// The number of inflated bytes, including the last separator.
    pub const fn len(&self) -> usize {
        self.parts.len
    }

    /// Whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.parts.len == 0
    }

    /// The compression effort used.
    pub const fn effort(&self) -> Effort {
        self.parts.effort
    }

    /// The CRC-32 of the inflated bytes without the last separator.
    pub const fn crc(&self, separator: Separator) -> u32 {
        match separator {
            Separator::Line => self.parts.lines_crc,
            Separator::Comma => self.parts.commas_crc,
        }
    }

    /// The effect on the checksum of appending the rows without the last separator.
    pub const fn shift(&self) -> Shift {
        self.shift
    }

    /// The blocks with this separator: as stored, or as an overwritten copy.
    pub fn blocks(&self, separator: Separator) -> Bytes {
        match separator {
            Separator::Line => self.parts.blocks.clone(),
            Separator::Comma => {
                let mut blocks = self.parts.blocks.to_vec();
                write_over(&mut blocks, self.parts.seams.as_deref().unwrap_or_default(), separator);
                blocks.into()
            }
        }
    }

    /// The rows with a line feed after each.
    ///
    /// # Errors
    /// Only if memory is damaged.
    pub fn inflate(&self) -> io::Result<Vec<u8>> {
        inflate(&self.parts.blocks, self.parts.len)
    }

    /// The memory used, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.parts.blocks.len()
            + self.parts.seams.as_ref().map_or(0, |seams| size_of_val(&**seams))
    }
}

/// Deflates lines, with the line feeds at `at` as stored blocks. Also returns the positions of these bytes in the output.
fn segments(lines: &[u8], at: &[usize], effort: Effort) -> io::Result<(Vec<u8>, Vec<u32>)> {
    deflate(effort.level(), |deflating| {
        let mut out = Vec::with_capacity(lines.len() / 4);
        let mut seams = Vec::with_capacity(at.len());
        let mut unsent = Vec::new();
        let mut start = 0;
        for &end in at {
            deflating.push(&lines[start..end], &mut out)?;
            // The encoder must see the separator to compute distances, but its block for it is discarded.
            let separator = &lines[end..=end];
            deflating.push(separator, &mut unsent)?;
            unsent.clear();
            stored(separator, &mut out);
            seams.push(u32::try_from(out.len() - 1).map_err(io::Error::other)?);
            start = end + 1;
        }
        if start < lines.len() {
            deflating.push(&lines[start..], &mut out)?;
        }
        Ok((out, seams))
    })
}

/// A line feed as a stored block: type, length, complement of the length, byte (RFC 1951 section 3.2.4).
const LINE_FEED: [u8; Deflated::LAST_SEPARATOR] = [0, 1, 0, 0xfe, 0xff, b'\n'];

/// Whether this position is a line feed in a stored block of its own.
fn is_separator(blocks: &[u8], seam: usize) -> bool {
    blocks.get(..=seam).is_some_and(|to_seam| to_seam.ends_with(&LINE_FEED))
}

fn write_over(blocks: &mut [u8], seams: &[u32], separator: Separator) {
    for &seam in seams {
        if let Some(byte) = blocks.get_mut(seam as usize) {
            *byte = separator.byte();
        }
    }
}

fn with_commas(lines: &[u8], at: &[usize]) -> Vec<u8> {
    let mut commas = lines.to_vec();
    at.iter().for_each(|&end| commas[end] = b',');
    commas
}

/// Frees spare capacity, which would be held as long as the rows.
fn exact(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(rows: &[String], separator: Separator) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for row in rows {
            out.extend_from_slice(row.as_bytes());
            ends.push(out.len());
            out.push(separator.byte());
        }
        (out, ends)
    }

    /// Inflates the blocks as a client does.
    fn read(deflated: &Deflated, separator: Separator) -> Vec<u8> {
        let blocks = deflated.blocks(separator);
        assert_eq!(blocks.len(), deflated.deflated_len());
        let whole = inflate(&blocks, deflated.len()).unwrap();
        let open = inflate(&blocks[..blocks.len() - Deflated::LAST_SEPARATOR], deflated.len() - 1).unwrap();
        assert_eq!(open, whole[..whole.len() - 1]);
        whole
    }

    /// Similar rows, some of them longer than the window of deflate.
    fn row() -> impl Strategy<Value = String> {
        let filling = prop_oneof![8 => "[a-z ,\\\\]{0,300}", 1 => "([0-9a-f]{8},){4000,5000}"];
        (any::<u64>(), filling)
            .prop_map(|(id, filling)| format!("{{\"id\":\"{id:016x}\",\"said\":\"{filling}\"}}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_same_blocks_give_lines_and_elements(rows in prop::collection::vec(row(), 1..12)) {
            let (lines, ends) = joined(&rows, Separator::Line);
            for effort in [Effort::Arrival, Effort::Idle] {
                let deflated = Deflated::new(&lines, &ends, effort).unwrap();
                prop_assert!(deflated.is_sendable());
                prop_assert!(deflated.inflate().unwrap() == lines);
                for separator in [Separator::Line, Separator::Comma] {
                    let (expected, _) = joined(&rows, separator);
                    prop_assert!(read(&deflated, separator) == expected, "{effort:?} {separator:?}");
                    prop_assert_eq!(deflated.crc(separator), crc32fast::hash(&expected[..expected.len() - 1]));
                }
            }
        }
    }

    #[test]
    fn idle_effort_stores_two_separators_for_similar_rows() {
        let rows: Vec<String> =
            (0..50).map(|i| format!("{{\"id\":\"{i}\",\"status\":\"completed\"}}")).collect();
        let (lines, ends) = joined(&rows, Separator::Line);
        let seams = |effort| Deflated::new(&lines, &ends, effort).unwrap().parts.seams.unwrap().len();
        assert_eq!((seams(Effort::Arrival), seams(Effort::Idle)), (50, 2));
    }

    #[test]
    fn rows_with_line_feeds_are_stored_but_not_sendable() {
        let lines = b"{\n}\n{}\n";
        let deflated = Deflated::new(lines, &[3, 6], Effort::Arrival).unwrap();
        assert!(!deflated.is_sendable());
        assert_eq!(deflated.inflate().unwrap(), lines);
    }

    #[test]
    fn restores_rows_only_from_valid_parts() {
        let rows: Vec<String> =
            (0..9).map(|i| format!("{{\"id\":\"{i}\",\"status\":\"completed\"}}")).collect();
        let (lines, ends) = joined(&rows, Separator::Line);
        for effort in [Effort::Arrival, Effort::Idle] {
            let deflated = Deflated::new(&lines, &ends, effort).unwrap();
            let again = Deflated::from_parts(deflated.parts().clone(), 9).unwrap();
            assert_eq!((again.parts(), again.shift()), (deflated.parts(), deflated.shift()));
            let refused = |change: &dyn Fn(&mut DeflatedParts)| {
                let mut parts = deflated.parts().clone();
                change(&mut parts);
                Deflated::from_parts(parts, 9).is_none()
            };
            let seams = deflated.parts().seams.clone().unwrap();
            let with =
                |seams: Vec<u32>| move |parts: &mut DeflatedParts| parts.seams = Some(seams.clone().into());
            assert!(refused(&with(seams[1..].to_vec())) && refused(&with(Vec::new())));
            assert!(refused(&with(seams.iter().map(|seam| seam + 1).collect())));
            assert!(refused(&with(seams.iter().rev().copied().collect())));
            assert!(
                refused(&with(vec![seams[0]; seams.len()])) && refused(&with(vec![u32::MAX; seams.len()]))
            );
            assert!(refused(&|parts| parts.len = usize::MAX) && refused(&|parts| parts.len = 8));
            assert!(refused(&|parts| parts.blocks = parts.blocks.slice(1..)));
            assert!(refused(&|parts| parts.blocks.truncate(parts.blocks.len() - 1)));
            assert!(Deflated::from_parts(deflated.parts().clone(), 1).is_none());
        }
    }

    #[test]
    fn inflating_damaged_rows_is_an_error() {
        let rows = vec!["{\"id\":1}".repeat(40); 3];
        let (lines, ends) = joined(&rows, Separator::Line);
        let mut deflated = Deflated::new(&lines, &ends, Effort::Arrival).unwrap();
        deflated.parts.len += 1;
        assert!(deflated.inflate().is_err());
    }
}
