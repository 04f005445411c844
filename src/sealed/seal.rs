//! Seals records, so that without the secret no one can read, change or swap them.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;

use super::record::{RecordKind, RecordName};

/// The first bytes of every sealed record, in any version.
const MAGIC: [u8; 6] = *b"fftier";

/// The magic and the version.
const VERSIONED: usize = MAGIC.len() + size_of::<u16>();

/// The size of what precedes the nonce: magic, version, and how many bytes follow.
const HEADER: usize = VERSIONED + size_of::<u64>();

/// The size of the authentication tag.
const TAG: usize = 16;

/// The bytes that sealing adds to a record.
const OVERHEAD: usize = HEADER + NONCE_LEN + TAG;

/// Seals and opens records with the sealing key of one line of the secret.
///
/// A sealed record is:
///
/// | bytes | |
/// |---|---|
/// | 6 | `fftier` |
/// | 2 | version of the format of its kind, little-endian |
/// | 8 | how many bytes follow, little-endian |
/// | 12 | nonce, random |
/// | … | the record, encrypted with AES-256-GCM |
/// | 16 | tag |
///
/// The associated data are the header's first 8 bytes, the kind (1: cell, 2: rows, 3: marks) and the 16 bytes of the name, so a
/// record opens only as its own kind and under its own name. Nonces are random, so one line of the
/// secret may seal 2³² records (NIST SP 800-38D section 8.3): a hundred per second for more than a year.
#[derive(Debug)]
pub struct Sealer(RandomizedNonceKey);

/// Why a record could not be opened. Each is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// Another version of fanfold wrote it, and may still need it.
    #[error("the record has the format of another version")]
    Foreign,
    /// It is not a record, is damaged, has another kind or name, or was sealed with another secret.
    #[error("the record is damaged, or does not belong to its name")]
    Corrupt,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self)
    }

    /// Seals a record.
    ///
    /// # Errors
    /// The system has no random numbers, or the record is larger than AES-GCM can seal (64 GiB).
    pub fn seal(&self, kind: RecordKind, name: &RecordName, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.seal_as(kind.version(), kind, name, plain)
    }

    fn seal_as(
        &self,
        version: u16,
        kind: RecordKind,
        name: &RecordName,
        plain: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&header_of(version, NONCE_LEN + plain.len() + TAG));
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plain);
        let associated = associated_data(version, kind, name);
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(associated, &mut sealed[HEADER + NONCE_LEN..])
            .map_err(|_| io::Error::other("a record could not be sealed"))?;
        sealed[HEADER..HEADER + NONCE_LEN].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens a record in place. After an error, the buffer's content is unspecified.
    ///
    /// # Errors
    /// The record is not complete, or was not sealed with this key as this kind and name.
    pub fn open<'r>(
        &self,
        kind: RecordKind,
        name: &RecordName,
        sealed: &'r mut [u8],
    ) -> Result<&'r [u8], Unsealed> {
        let (header, rest) = sealed.split_first_chunk_mut::<HEADER>().ok_or(Unsealed::Corrupt)?;
        let expected = header_of(kind.version(), rest.len());
        if *header != expected {
            let is_of_another_version =
                header.starts_with(&MAGIC) && header[..VERSIONED] != expected[..VERSIONED];
            return Err(if is_of_another_version { Unsealed::Foreign } else { Unsealed::Corrupt });
        }
        let (nonce, record) = rest.split_first_chunk_mut::<NONCE_LEN>().ok_or(Unsealed::Corrupt)?;
        let associated = associated_data(kind.version(), kind, name);
        match self.0.open_in_place(Nonce::from(&*nonce), associated, record) {
            Ok(plain) => Ok(plain),
            Err(Unspecified) => Err(Unsealed::Corrupt),
        }
    }
}

fn header_of(version: u16, following: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..VERSIONED].copy_from_slice(&version.to_le_bytes());
    header[VERSIONED..].copy_from_slice(&(following as u64).to_le_bytes());
    header
}

fn associated_data(version: u16, kind: RecordKind, name: &RecordName) -> Aad<Vec<u8>> {
    let mut data = header_of(version, 0)[..VERSIONED].to_vec();
    data.push(kind.tag());
    data.extend_from_slice(name.as_bytes());
    Aad::from(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: RecordName = RecordName::from_bytes([3; 16]);
    const PLAIN: &[u8] = b"{\"id\":\"row-1\",\"agent\":\"somebody\"}";

    fn sealer(seed: u8) -> Sealer {
        Sealer::new(&[seed; 32]).unwrap()
    }

    fn sealed() -> Vec<u8> {
        sealer(1).seal(RecordKind::Cell, &NAME, PLAIN).unwrap()
    }

    fn open(mut sealed: Vec<u8>) -> Result<Vec<u8>, Unsealed> {
        sealer(1).open(RecordKind::Cell, &NAME, &mut sealed).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_sealed_record_opens_to_what_was_sealed() {
        for plain in [&[][..], PLAIN, &[0; 100_000]] {
            let mut sealed = sealer(1).seal(RecordKind::Rows, &NAME, plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(sealer(1).open(RecordKind::Rows, &NAME, &mut sealed), Ok(plain));
        }
    }

    #[test]
    fn a_record_that_another_implementation_sealed_opens() {
        // Sealed by Python's `cryptography`, following the description above.
        let hex = "66667469657201002600000000000000000102030405060708090a0bdac8ec06529b65168c0e20e6\
                   948bd375bb98385a0f6ad0419d2a";
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut sealed: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        assert_eq!(sealer(1).open(RecordKind::Cell, &NAME, &mut sealed), Ok(&b"any record"[..]));
    }

    #[test]
    fn sealing_a_record_twice_gives_different_bytes() {
        let (one, other) = (sealed(), sealed());
        assert_ne!(one[HEADER..HEADER + NONCE_LEN], other[HEADER..HEADER + NONCE_LEN]);
        assert_ne!(one[HEADER + NONCE_LEN..], other[HEADER + NONCE_LEN..]);
    }

    #[test]
    fn every_flipped_bit_is_a_miss() {
        let sealed = sealed();
        for bit in 0..8 * sealed.len() {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_any_other_length_is_a_miss() {
        let sealed = sealed();
        for length in 0..sealed.len() {
            assert_eq!(open(sealed[..length].to_vec()), Err(Unsealed::Corrupt), "{length}");
            assert_eq!(open(sealed[length + 1..].to_vec()), Err(Unsealed::Corrupt), "{length}");
        }
        assert_eq!(open([&sealed[..], &[0]].concat()), Err(Unsealed::Corrupt));
        assert_eq!(open([&sealed[..], &sealed[..]].concat()), Err(Unsealed::Corrupt));
        assert_eq!(open(vec![0; sealed.len()]), Err(Unsealed::Corrupt));
    }

    #[test]
    fn a_record_under_another_name_kind_or_secret_is_a_miss() {
        let other = RecordName::from_bytes([4; 16]);
        let open_as = |seed, kind, name| sealer(seed).open(kind, name, &mut sealed()).map(<[u8]>::to_vec);
        assert_eq!(open_as(1, RecordKind::Cell, &NAME), Ok(PLAIN.to_vec()));
        assert_eq!(open_as(1, RecordKind::Cell, &other), Err(Unsealed::Corrupt));
        for kind in [RecordKind::Rows, RecordKind::Marks] {
            assert_eq!(open_as(1, kind, &NAME), Err(Unsealed::Corrupt), "{kind:?}");
        }
        assert_eq!(open_as(2, RecordKind::Cell, &NAME), Err(Unsealed::Corrupt));
    }

    #[test]
    fn a_record_of_an_older_or_a_newer_version_is_foreign() {
        let ours = RecordKind::Cell.version();
        for version in [ours - 1, ours + 1, u16::MAX] {
            let theirs = sealer(1).seal_as(version, RecordKind::Cell, &NAME, PLAIN).unwrap();
            assert_eq!(open(theirs.clone()), Err(Unsealed::Foreign), "{version}");
            // Changing the version in the header is not enough.
            let mut relabeled = theirs;
            relabeled[MAGIC.len()..MAGIC.len() + 2].copy_from_slice(&ours.to_le_bytes());
            assert_eq!(open(relabeled), Err(Unsealed::Corrupt), "{version}");
        }
    }
}
