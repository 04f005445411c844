//! A real server for tests, on a free port of loopback.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::server::Server;
use super::settings::{ServerAddress, ServerSettings};
use crate::clock::SteadyClock;
use crate::sealed::testing::TempFolder;

/// `redis-server` without a file of its own. It ends when this is dropped.
pub(super) struct TestServer {
    child: Child,
    pub(super) port: u16,
    folder: TempFolder,
}

impl TestServer {
    /// Starts a server, and waits until it answers.
    pub(super) fn start() -> Self {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = TempFolder::new();
            let child = Self::spawn(port, &folder);
            let mut server = Self { child, port, folder };
            // Another process may have taken the port.
            if server.answers() {
                return server;
            }
        }
    }

    fn spawn(port: u16, folder: &TempFolder) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            .args(["--dir", folder.path().to_str().unwrap(), "--enable-debug-command", "yes"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not on this machine: scripts/lib.sh, redis_tools")
    }

    /// Kills it, and starts an empty one in its place.
    pub(super) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.port, &self.folder);
        assert!(self.answers());
    }

    /// Sends a command, and returns the first bytes of the reply.
    pub(super) fn tell(&self, words: &[&str]) -> String {
        self.try_tell(words).unwrap()
    }

    fn try_tell(&self, words: &[&str]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        stream.write_all(text.as_bytes())?;
        let mut reply = vec![0; 1 << 16];
        let read = stream.read(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
    }

    /// Waits until this server answers. False if it ended.
    fn answers(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.child.id());
        while self.child.try_wait().unwrap().is_none() {
            if self.try_tell(&["INFO", "server"]).is_ok_and(|reply| reply.contains(&own)) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    pub(super) fn settings(&self) -> ServerSettings {
        ServerSettings {
            address: ServerAddress {
                host: "127.0.0.1".to_owned(),
                port: self.port,
                database: 0,
                is_tls: false,
            },
            user: None,
            password_file: None,
            ca_file: None,
            timeout: Duration::from_millis(250),
        }
    }

    /// A connection that is up.
    pub(super) async fn connect(&self) -> Server {
        let server = Server::open(&self.settings(), &SteadyClock::from_wall());
        server.up_within(Duration::from_secs(30)).await.unwrap();
        server
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
