use crate::domain::Timestamp;

/// Reads a record from front to back. Each method returns `None` if the record is too short or the field is invalid.
#[derive(Debug)]
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) const fn new(record: &'a [u8]) -> Self {
        Self(record)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// An instant within the years of [`Timestamp`].
    pub(super) fn instant(&mut self) -> Option<Timestamp> {
        let micros = self.i64()?;
        Some(Timestamp::from_micros(micros)).filter(|instant| instant.as_micros() == micros)
    }

    /// The items of a list. Each takes at least `least` bytes, so that a false length can't cause a large allocation.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let length = self.length()?;
        if length.checked_mul(least)? > self.0.len() {
            return None;
        }
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(item(self)?);
        }
        Some(items)
    }

    /// The bytes of a section.
    pub(super) fn section(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.bytes(length)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.section()?).ok()
    }

    /// All remaining bytes.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// `Some` if the record ends here.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }
}

/// The encoded length of a list or section. Lengths beyond `u32` encode as its maximum, so that such a record is not decoded.
pub(super) fn length_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_longer_than_the_record_is_refused() {
        let claims = [u32::MAX.to_le_bytes().as_slice(), &[0; 40]].concat();
        assert!(Decoder::new(&claims).list(4, Decoder::u32).is_none());
        assert!(Decoder::new(&claims).list(usize::MAX, Decoder::u32).is_none());
        assert!(Decoder::new(&claims).section().is_none());
        let fits = [10u32.to_le_bytes().as_slice(), &[0; 40]].concat();
        assert_eq!(Decoder::new(&fits).list(4, Decoder::u32), Some(vec![0; 10]));
    }

    #[test]
    fn an_instant_that_no_row_can_have_is_refused() {
        let read = |micros: i64| Decoder::new(&micros.to_le_bytes()).instant();
        assert_eq!(read(0), Some(Timestamp::from_micros(0)));
        for edge in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(read(edge.as_micros()), Some(edge));
        }
        assert!(read(Timestamp::MIN.as_micros() - 1).is_none() && read(i64::MAX).is_none());
    }
}
