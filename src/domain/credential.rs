use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// What upstream is asked with. Unprintable: neither `Debug` nor any message shows the key.
#[derive(Clone)]
pub struct Credential {
    id: CredentialId,
    key: SecretString,
}

/// Which credential something was read with, as a keyed digest that tells nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    /// The credential known by this digest.
    pub const fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Credential {
    /// A key and the digest it is known by.
    pub const fn new(id: CredentialId, key: SecretString) -> Self {
        Self { id, key }
    }

    /// The digest it is known by.
    pub const fn id(&self) -> CredentialId {
        self.id
    }

    /// The key itself, for the one header that carries it.
    pub fn expose_key(&self) -> &str {
        self.key.expose_secret()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.id, f)
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credential ")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
