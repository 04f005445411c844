use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The key that a request to upstream carries. Neither `Debug` nor any message shows it.
#[derive(Clone)]
pub struct Credential {
    id: CredentialId,
    key: SecretString,
}

/// Identifies the credential with which something was read, by a keyed digest that reveals nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    /// Identifies a credential by its digest.
    pub const fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Credential {
    /// Combines a key with its digest.
    pub const fn new(id: CredentialId, key: SecretString) -> Self {
        Self { id, key }
    }

    /// The digest that identifies it.
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
