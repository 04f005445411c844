use bytes::BufMut;

/// The most bytes in a stored block: its length has 16 bits.
const MOST: usize = 65_535;

/// The size of a stored block's header: type and length.
const HEAD: usize = 5;

/// An empty last block of a stream.
pub const EMPTY_LAST: [u8; 2] = [0x03, 0x00];

/// Writes bytes as stored blocks, which begin and end on a byte boundary.
pub fn stored(bytes: &[u8], out: &mut impl BufMut) {
    for block in bytes.chunks(MOST) {
        // The length and its complement (RFC 1951 section 3.2.4). A chunk is never longer than the constant.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
    }
}

/// The number of bytes that [`stored`] writes for `length` bytes.
pub const fn stored_len(length: usize) -> usize {
    length + length.div_ceil(MOST) * HEAD
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;

    #[test]
    fn stores_any_length() {
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
