//! What a server answers, and why it does not.

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerReply {
    /// Nothing is there.
    Nil,
    /// A number. A script's `true` is 1, and its `false` nothing.
    Number(i64),
    /// Bytes, or a status such as `OK`.
    Bytes(Vec<u8>),
    /// Several.
    List(Vec<ServerReply>),
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The server is away, so nothing was sent.
    #[error("the server is away")]
    Away,
    /// It may have been carried out: the reply did not come in time, or the connection broke before it.
    #[error("no reply: {0}")]
    Unknown(String),
    /// The server refused it. A script may have done a part before.
    #[error("{0}")]
    Refused(String),
}

impl ServerReply {
    /// A number, also one that is written in digits.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// Bytes.
    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nil | Self::Number(_) | Self::List(_) => None,
        }
    }

    /// Several replies; none if it is something else.
    pub(super) fn list(self) -> Vec<Self> {
        match self {
            Self::List(list) => list,
            Self::Nil | Self::Number(_) | Self::Bytes(_) => Vec::new(),
        }
    }
}
