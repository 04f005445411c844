//! Replies of a server, and why there may be none.

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerReply {
    /// No value.
    Nil,
    /// A number. A script's `true` is 1, and its `false` is [`Nil`](Self::Nil).
    Number(i64),
    /// Bytes, or a status such as `OK`.
    Bytes(Vec<u8>),
    /// Several replies.
    List(Vec<ServerReply>),
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// There is no connection, so nothing was sent.
    #[error("the server is away")]
    Away,
    /// The reply was late, or the connection broke first. The command may have been carried out.
    #[error("no reply: {0}")]
    Unknown(String),
    /// The server refused the command. A script may have done part of its work by then.
    #[error("{0}")]
    Refused(String),
}

impl ServerReply {
    /// The number, which may be written in digits.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The bytes; `None` for any other reply.
    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nil | Self::Number(_) | Self::List(_) => None,
        }
    }

    /// The replies of a list; empty for any other reply.
    pub(super) fn list(self) -> Vec<Self> {
        match self {
            Self::List(list) => list,
            Self::Nil | Self::Number(_) | Self::Bytes(_) => Vec::new(),
        }
    }
}
