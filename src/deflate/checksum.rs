/// CRC-32's polynomial with reversed bits, as everywhere in gzip (RFC 1952 section 8).
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// The effect of appending a text of a certain length on the CRC-32 of the text before it.
///
/// Appending `n` bytes multiplies the CRC-32 by `x` to the power of `8n`. Computing the power takes a hundred
/// times as long as using it, so it is stored with the checksum of the appended text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift(u32);

impl Shift {
    /// The effect of appending this many bytes.
    pub const fn of(bytes: usize) -> Self {
        let (mut power, mut square, mut left) = (ONE, ONE >> 8, bytes);
        while left > 0 {
            if left & 1 == 1 {
                power = product(power, square);
            }
            square = product(square, square);
            left >>= 1;
        }
        Self(power)
    }

    /// The CRC-32 of two concatenated texts. The second must have the length that this was created for.
    pub const fn combine(self, first: u32, second: u32) -> u32 {
        product(self.0, first) ^ second
    }
}

/// The product of two polynomials, modulo [`POLYNOMIAL`].
const fn product(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit > 0 {
        // Without branches, because half of them would be mispredicted.
        product ^= b & 0u32.wrapping_sub((a & bit != 0) as u32);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn combines_the_checksums_of_two_texts(
            first in prop::collection::vec(any::<u8>(), 0..300),
            second in prop::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let both = [first.as_slice(), second.as_slice()].concat();
            let combined =
                Shift::of(second.len()).combine(crc32fast::hash(&first), crc32fast::hash(&second));
            prop_assert_eq!(combined, crc32fast::hash(&both));
        }
    }
}
