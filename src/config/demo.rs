//! The settings of `demo`.

use std::net::SocketAddr;

use super::faults::SettingErrors;
use super::flags::Flag;
use super::reader::{SettingsReader, read_all};
use super::serve::log;
use super::serve_flags::{CONSOLE, LOG, LOG_FORMAT};
use super::settings::LogSettings;
use super::values;

/// The flags of `demo`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::new("listen", "ADDRESS", "127.0.0.1:8080", "Address of the gateway"),
    Flag::new("simulator-listen", "ADDRESS", "127.0.0.1:8081", "Address of the simulated upstream"),
    Flag::new("admin-listen", "ADDRESS", "127.0.0.1:9090", "Address of probes, metrics and purge"),
    CONSOLE,
    LOG.with_default("warn"),
    LOG_FORMAT,
];

/// The settings of `demo`.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The gateway's address.
    pub listen: SocketAddr,
    /// The simulator's address.
    pub simulator_listen: SocketAddr,
    /// The address for probes, metrics and purge.
    pub admin_listen: SocketAddr,
    /// Whether the console is served.
    pub has_console: bool,
    /// What is logged.
    pub log: LogSettings,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader) -> Result<Demo, SettingErrors> {
    let read = &mut reader;
    let demo = read_all!(read, Demo {
        listen: one("listen", values::address),
        simulator_listen: one("simulator-listen", values::address),
        admin_listen: one("admin-listen", values::address),
        has_console: one("console", values::switch),
        ;
        log: log,
    });
    reader.finish(demo)
}
