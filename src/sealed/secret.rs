//! The secret of a tier: a file whose lines are secrets, each of which yields keys that name and seal records.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};

use super::names::TierNames;
use super::seal::Sealer;

/// The fewest characters of a line: 128 bits if they are hex digits.
const SHORTEST: usize = 32;

/// The most lines. Two suffice to replace a secret; each line more is another place to look for records.
const MOST_LINES: usize = 8;

/// Separates these keys from others that may be derived from the same secret.
const SALT: &[u8] = b"fanfold tier";

/// The secret of a tier.
///
/// The first line names and seals what is written; what any line named and sealed can be read. To replace a secret, put the new
/// line first, and remove the old line once its records are no longer needed.
///
/// From each line HKDF-SHA256 (RFC 5869; salt `fanfold tier`) derives a naming key (info `naming`) and a sealing key (info
/// `sealing`) of 32 bytes each. Only these are kept in memory, and nothing prints them.
///
/// # Invariants
/// There is at least one line.
pub struct TierSecret(Box<[TierKeys]>);

/// The keys from one line of the secret.
#[derive(Debug)]
pub struct TierKeys {
    /// Names records.
    pub names: TierNames,
    /// Seals and opens records.
    pub sealer: Sealer,
}

/// Why a file is not a secret. No message contains any of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTierSecret {
    /// All lines are blank.
    #[error("it has no secret; `openssl rand -base64 48` makes one")]
    Empty,
    /// It has too many lines.
    #[error("it has more than {MOST_LINES} lines")]
    TooMany,
    /// A line has characters other than printable ASCII and tabs.
    #[error("line {0} has characters other than printable ASCII")]
    NotPrintable(usize),
    /// A line looks like a comment, which the file can't have.
    #[error("line {0} begins with `#`; a comment would be taken for a secret")]
    Comment(usize),
    /// A line is so short that it could be guessed.
    #[error("line {0} is shorter than {SHORTEST} characters; `openssl rand -base64 48` makes a secret")]
    TooShort(usize),
    /// Two lines are the same.
    #[error("line {0} is the same as line {1}")]
    Repeated(usize, usize),
    /// The cryptographic library failed.
    #[error("no keys could be derived from line {0}")]
    NoKeys(usize),
}

impl TierSecret {
    /// Reads the content of a file: one secret per line. Trims white space around each, and skips blank lines.
    ///
    /// # Errors
    /// There is no secret, or a line is not fit to be one.
    pub fn parse(text: &[u8]) -> Result<Self, BadTierSecret> {
        let mut known: Vec<(usize, &[u8])> = Vec::new();
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            check(number, line)?;
            if let Some((first, _)) = known.iter().find(|(_, other)| *other == line) {
                return Err(BadTierSecret::Repeated(number, *first));
            }
            if keys.len() == MOST_LINES {
                return Err(BadTierSecret::TooMany);
            }
            known.push((number, line));
            keys.push(TierKeys::derive(line).map_err(|_| BadTierSecret::NoKeys(number))?);
        }
        if keys.is_empty() { Err(BadTierSecret::Empty) } else { Ok(Self(keys.into())) }
    }

    /// The keys that name and seal what is written.
    pub fn first(&self) -> &TierKeys {
        &self.0[0]
    }

    /// The keys of the last line, for names that must stay the same when a new line is put first.
    pub fn last(&self) -> &TierKeys {
        self.0.last().unwrap_or_else(|| self.first())
    }

    /// The keys of every line, the first line's first.
    pub fn all(&self) -> &[TierKeys] {
        &self.0
    }
}

impl fmt::Debug for TierSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a secret of {} lines", self.0.len())
    }
}

impl TierKeys {
    fn derive(line: &[u8]) -> Result<Self, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(line);
        let names = TierNames::new(&key(&secret, b"naming")?);
        let sealer = Sealer::new(&key(&secret, b"sealing")?)?;
        Ok(Self { names, sealer })
    }
}

fn key(secret: &Prk, purpose: &[u8]) -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    secret.expand(&[purpose], HKDF_SHA256)?.fill(&mut key)?;
    Ok(key)
}

fn check(number: usize, line: &[u8]) -> Result<(), BadTierSecret> {
    if !line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(BadTierSecret::NotPrintable(number));
    }
    if line.starts_with(b"#") {
        return Err(BadTierSecret::Comment(number));
    }
    if line.len() < SHORTEST {
        return Err(BadTierSecret::TooShort(number));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "Zk3vQ9pL7wX1rT8yB5nM2cD6fG4hJ0sA";
    const B: &str = "b1946ac92492d2347c6235b4d2611184";

    fn namespaces(text: &str) -> Vec<String> {
        let secret = TierSecret::parse(text.as_bytes()).unwrap();
        secret.all().iter().map(|keys| keys.names.namespace().to_string()).collect()
    }

    #[test]
    fn each_line_is_a_secret_and_the_first_one_writes() {
        let (a, b) = (namespaces(A).remove(0), namespaces(B).remove(0));
        assert_ne!(a, b);
        for text in [format!("{B}\n{A}\n"), format!("\n  {B}\t\r\n\r\n{A}"), format!("{B}\n\n\n{A}\n\n")] {
            assert_eq!(namespaces(&text), [b.clone(), a.clone()], "{text:?}");
            let secret = TierSecret::parse(text.as_bytes()).unwrap();
            assert_eq!(secret.first().names.namespace().to_string(), b);
        }
    }

    #[test]
    fn keys_are_the_same_in_every_build() {
        // Computed by another implementation.
        assert_eq!(namespaces(A), ["2a0c4e8668c1a2c6a15ea05d8dec88d7"]);
    }

    #[test]
    fn a_file_that_is_not_a_secret_is_refused_with_the_faulty_line() {
        let many: Vec<_> = (0..9).map(|number| format!("{A}{number}")).collect();
        let short = &A[1..];
        let cases = [
            (String::new(), BadTierSecret::Empty),
            ("\n \r\n\t\n".to_owned(), BadTierSecret::Empty),
            (short.to_owned(), BadTierSecret::TooShort(1)),
            (format!("{A}\n\n   {short}   \n"), BadTierSecret::TooShort(3)),
            (format!("# made by hand on the first of May\n{A}"), BadTierSecret::Comment(1)),
            (format!("\u{feff}{A}"), BadTierSecret::NotPrintable(1)),
            ("\0".repeat(64), BadTierSecret::NotPrintable(1)),
            (format!("{A}\n{B}\n {A}"), BadTierSecret::Repeated(3, 1)),
            (many.join("\n"), BadTierSecret::TooMany),
        ];
        for (text, expected) in cases {
            assert_eq!(TierSecret::parse(text.as_bytes()).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(TierSecret::parse(&[0xff; 64]).unwrap_err(), BadTierSecret::NotPrintable(1));
    }

    #[test]
    fn neither_debug_nor_a_message_shows_a_secret() {
        let secret = TierSecret::parse(format!("{A}\n{B}").as_bytes()).unwrap();
        let errors =
            [format!("{A}\n{A}"), format!("{A}\n{}", &B[1..]), format!("{A}\n#{B}"), format!("é{A}")]
                .map(|text| TierSecret::parse(text.as_bytes()).unwrap_err());
        let mut shown = format!("{secret:?} {:?}", secret.first());
        errors.iter().for_each(|error| shown.push_str(&format!("{error} {error:?}")));
        for line in [A, B] {
            let parts: Vec<_> =
                line.as_bytes().windows(5).map(|part| str::from_utf8(part).unwrap()).collect();
            assert!(parts.iter().all(|part| !shown.contains(part)), "{shown}");
        }
    }
}
