//! What a server is reached with.

use std::path::PathBuf;
use std::time::Duration;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: u8,
    /// Whether TLS is used.
    pub is_tls: bool,
}

/// What a server is reached with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where it is.
    pub address: ServerAddress,
    /// The user, if it is not the default one.
    pub user: Option<String>,
    /// The file with the password. It is read at each connection, so a new password needs no restart.
    pub password_file: Option<PathBuf>,
    /// The file with the trusted root certificates, if they are not the system's.
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
