use bytes::BufMut;

/// The most bytes in a stored block: its length is written in 16 bits.
const MOST: usize = 65_535;

/// Type and length of a stored block, before its bytes.
const HEAD: usize = 5;

/// The last block of a stream, with nothing in it.
pub const EMPTY_LAST: [u8; 2] = [0x03, 0x00];

/// Writes bytes as stored blocks. They must begin on a byte boundary, and end on one.
pub fn stored(bytes: &[u8], out: &mut impl BufMut) {
    for block in bytes.chunks(MOST) {
        // The length, and its complement (RFC 1951 section 3.2.4); a chunk is never longer than the constant.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
    }
}

/// How many bytes [`stored`] writes for so many.
pub const fn stored_len(length: usize) -> usize {
    length + length.div_ceil(MOST) * HEAD
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;

    #[test]
    fn any_length_can_be_stored() {
        for length in [0, 1, MOST - 1, MOST, MOST + 1, 3 * MOST + 7] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut out = Vec::new();
            stored(&bytes, &mut out);
            assert_eq!(out.len(), stored_len(length));
            out.extend_from_slice(&EMPTY_LAST);
            let mut read = Vec::new();
            DeflateDecoder::new(&out[..]).read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length}");
        }
    }
}
