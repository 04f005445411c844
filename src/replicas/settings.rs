//! How to reach a server.

use std::path::PathBuf;
use std::time::Duration;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Its host name or IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's number.
    pub database: u8,
    /// Whether TLS is used.
    pub is_tls: bool,
}

/// How to reach a server, and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The server's address.
    pub address: ServerAddress,
    /// The user; `None` for the default user.
    pub user: Option<String>,
    /// The file with the password. It is read for each new connection, so a new password needs no restart.
    pub password_file: Option<PathBuf>,
    /// The file with the trusted root certificates; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for one command.
    pub timeout: Duration,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}/{}", self.port, self.database)
    }
}
