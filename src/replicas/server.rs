//! The two connections to a server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::{LuaScript, ServerCommand};
use super::link::{Link, ServerClock};
use super::reply::{CallError, ServerReply};
use super::settings::ServerSettings;
use crate::clock::SteadyClock;
use crate::shutdown::Shutdown;

/// The longest wait for a command with large values.
const BULK_TIME: Duration = Duration::from_secs(2);

/// The connections to a server: one for commands, and one for large values, which would delay commands.
///
/// They are opened in the background. While the server is away, every call fails at once. Dropping this closes the connections.
pub(super) struct Server {
    commands: Arc<Link>,
    bulk: Arc<Link>,
    /// Supervises the connections. A drain does not wait for these tasks.
    tasks: Shutdown,
}

impl Server {
    /// Begins to connect, and returns at once.
    pub(super) fn open(settings: &ServerSettings, clock: &SteadyClock) -> Self {
        let tasks = Shutdown::default();
        let link = |patience| {
            let link = Arc::new(Link::new(settings.clone(), clock.clone(), patience));
            let (supervised, ending) = (Arc::clone(&link), tasks.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = supervised.supervise() => {}
                    () = ending.end_ordered() => {}
                }
            });
            link
        };
        Self { commands: link(settings.timeout), bulk: link(BULK_TIME), tasks }
    }

    /// Whether the server replies to commands.
    pub(super) fn is_up(&self) -> bool {
        self.commands.is_up()
    }

    /// Runs a script.
    ///
    /// # Errors
    /// There is no reply within [`ServerSettings::timeout`], or the server refuses.
    pub(super) async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<ServerReply, CallError> {
        self.commands.script(script, keys, args).await
    }

    /// Sends a command, given as its words.
    ///
    /// # Errors
    /// There is no reply within [`ServerSettings::timeout`], or the server refuses.
    pub(super) async fn command(&self, words: &[&[u8]]) -> Result<ServerReply, CallError> {
        self.commands.call(ServerCommand::of(words)).await
    }

    /// Runs a script that takes or returns large values.
    ///
    /// # Errors
    /// There is no reply within two seconds, or the server refuses.
    pub(super) async fn bulk_script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<ServerReply, CallError> {
        self.while_up(self.bulk.script(script, keys, args)).await
    }

    /// Sends a command with large values, given as its words.
    ///
    /// # Errors
    /// There is no reply within two seconds, or the server refuses.
    pub(super) async fn bulk_command(&self, words: &[&[u8]]) -> Result<ServerReply, CallError> {
        self.while_up(self.bulk.call(ServerCommand::of(words))).await
    }

    /// Ends a bulk call early when the command connection fails: its timeout is shorter, so it notices first.
    async fn while_up(
        &self,
        call: impl Future<Output = Result<ServerReply, CallError>>,
    ) -> Result<ServerReply, CallError> {
        if !self.is_up() {
            return Err(CallError::Away);
        }
        tokio::select! {
            replied = call => replied,
            () = self.commands.until_replaced() => {
                self.bulk.suspect();
                Err(CallError::Unknown("the server does not answer".to_owned()))
            }
        }
    }

    /// Waits until both connections are up.
    ///
    /// # Errors
    /// A sentence that says why they are not up after this time.
    pub(super) async fn up_within(&self, patience: Duration) -> Result<(), String> {
        let up = async {
            self.commands.until_up().await;
            self.bulk.until_up().await;
        };
        timeout(patience, up).await.map_err(|_| {
            let fault = self.commands.fault().or_else(|| self.bulk.fault());
            fault.unwrap_or_else(|| "no reply".to_owned())
        })
    }

    /// How often connections were replaced.
    pub(super) fn reconnects(&self) -> u64 {
        self.commands.reconnects() + self.bulk.reconnects()
    }

    /// The latest measurement of the server's clock.
    pub(super) fn server_clock(&self) -> Option<ServerClock> {
        self.commands.server_clock()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
