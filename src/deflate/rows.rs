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
    /// For rows as they arrive: level 1. Level 3 takes 2.3 times as long and leaves a third less.
    Arrival,
    /// For idle time: level 6, which takes three times as long as level 1 and leaves half.
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
/// The blocks end on a byte boundary, and none is marked as the last. Inflated, they are the rows with a line
/// feed after each; with the bytes at `seams` overwritten by a comma, the rows with a comma after each. The
/// last separator's block is the last block, so that it can be left out.
#[derive(Debug)]
pub struct Deflated {
    blocks: Bytes,
    /// The positions of separators in the blocks; `None` if the blocks can't be sent because rows contain
    /// line feeds.
    seams: Option<Box<[u32]>>,
    lines_crc: u32,
    commas_crc: u32,
    shift: Shift,
    len: usize,
    effort: Effort,
}

impl Deflated {
    /// The number of bytes of the last separator's block.
    pub const LAST_SEPARATOR: usize = stored_len(1);

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
            let shift = Shift::of(len.saturating_sub(1));
            Self { blocks: exact(blocks), seams, lines_crc, commas_crc, shift, len, effort }
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
        self.seams.is_some()
    }

    /// The number of bytes of the blocks.
    pub const fn deflated_len(&self) -> usize {
        self.blocks.len()
    }

    /// The number of inflated bytes, including the last separator.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The compression effort used.
    pub const fn effort(&self) -> Effort {
        self.effort
    }

    /// The CRC-32 of the inflated bytes without the last separator.
    pub const fn crc(&self, separator: Separator) -> u32 {
        match separator {
            Separator::Line => self.lines_crc,
            Separator::Comma => self.commas_crc,
        }
    }

    /// Combines the checksum of preceding bytes with that of the rows without the last separator.
    pub const fn shift(&self) -> Shift {
        self.shift
    }

    /// The blocks with this separator: as stored, or as an overwritten copy.
    pub fn blocks(&self, separator: Separator) -> Bytes {
        match separator {
            Separator::Line => self.blocks.clone(),
            Separator::Comma => {
                let mut blocks = self.blocks.to_vec();
                write_over(&mut blocks, self.seams.as_deref().unwrap_or_default(), separator);
                blocks.into()
            }
        }
    }

    /// The rows with a line feed after each.
    ///
    /// # Errors
    /// Only if memory is damaged.
    pub fn inflate(&self) -> io::Result<Vec<u8>> {
        inflate(&self.blocks, self.len)
    }

    /// The memory used, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.blocks.len() + self.seams.as_ref().map_or(0, |seams| size_of_val(&**seams))
    }
}

/// Deflates lines, with the line feeds at `at` as stored blocks. Returns the positions of these in the
/// blocks.
fn segments(lines: &[u8], at: &[usize], effort: Effort) -> io::Result<(Vec<u8>, Vec<u32>)> {
    deflate(effort.level(), |deflating| {
        let mut out = Vec::with_capacity(lines.len() / 4);
        let mut seams = Vec::with_capacity(at.len());
        let mut unsent = Vec::new();
        let mut start = 0;
        for &end in at {
            deflating.push(&lines[start..end], &mut out)?;
            // The encoder must see the separator to compute distances; its own block for it is discarded.
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

/// Frees spare capacity, which would be held for as long as the rows.
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

    /// The blocks as a client inflates them.
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
    fn similar_rows_share_a_stored_separator_at_the_idle_effort() {
        let rows: Vec<String> =
            (0..50).map(|i| format!("{{\"id\":\"{i}\",\"status\":\"completed\"}}")).collect();
        let (lines, ends) = joined(&rows, Separator::Line);
        let seams = |effort| Deflated::new(&lines, &ends, effort).unwrap().seams.unwrap().len();
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
    fn damage_is_an_error() {
        let rows = vec!["{\"id\":1}".repeat(40); 3];
        let (lines, ends) = joined(&rows, Separator::Line);
        let mut deflated = Deflated::new(&lines, &ends, Effort::Arrival).unwrap();
        deflated.len += 1;
        assert!(deflated.inflate().is_err());
    }
}
