use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::CredentialId;

/// A caller for the purpose of fair shares: one key, or one token of a held key, and the network of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The caller whose share is used.
    pub id: CallerId,
    /// The network that the request came from.
    pub peer: PeerGroup,
}

/// Identifies a caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerId {
    /// The holder of an upstream key, which upstream may not have accepted yet.
    Key(CredentialId),
    /// The holder of a token that the gateway checked, by a digest of the token's name.
    Token([u8; 16]),
}

/// A network. Unknown callers take turns by network: an IPv4 address, or an IPv6 network of 64 bits, the smallest that
/// providers assign to one customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeerGroup {
    /// The address is not known.
    #[default]
    Unknown,
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

impl Caller {
    /// The holder of a key, at an unknown address.
    pub const fn of_key(credential: CredentialId) -> Self {
        Self { id: CallerId::Key(credential), peer: PeerGroup::Unknown }
    }
}

impl PeerGroup {
    /// The network of an address. An IPv4 address that is mapped into IPv6 counts as that IPv4 address.
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, digest) = match self {
            Self::Key(credential) => ("key", credential.as_bytes()),
            Self::Token(digest) => ("token", digest),
        };
        write!(f, "{kind} ")?;
        digest[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> PeerGroup {
        PeerGroup::of(text.parse().unwrap())
    }

    #[test]
    fn ipv6_addresses_count_by_their_64_bit_network() {
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1:2"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
    }
}
