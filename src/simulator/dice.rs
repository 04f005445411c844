//! Reproducible randomness.
//!
//! The bytes of a row must be the same in every release that keeps its layout, so they can't depend on a
//! crate's choice of generator. This is splitmix64, sixteen lines that never change.

/// A sequence of numbers that depends only on its seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The sequence that belongs to some numbers, in their order.
    pub(super) fn of(parts: &[u64]) -> Self {
        Self(parts.iter().fold(0x9e37_79b9_7f4a_7c15, |sum, &part| mix(sum ^ mix(part.wrapping_add(sum)))))
    }

    /// The next 64 bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; zero for a bound of zero.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        (((self.bits() >> 32) as u128 * bound as u128) >> 32) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) const fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// Whether something happens that happens `per_mille` times in a thousand.
    pub(super) const fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of some values, of which there must be at least one.
    pub(super) const fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A number between zero and one.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Spreads every bit over all of them; a bijection.
pub(super) const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_reproducible_and_stays_within_bounds() {
        let (mut one, mut two) = (Dice::of(&[1, 2, 3]), Dice::of(&[1, 2, 3]));
        for _ in 0..1000 {
            let drawn = one.between(-3, 5);
            assert_eq!(drawn, two.between(-3, 5));
            assert!((-3..=5).contains(&drawn));
        }
        assert_ne!(Dice::of(&[1, 2]).bits(), Dice::of(&[2, 1]).bits());
    }
}
