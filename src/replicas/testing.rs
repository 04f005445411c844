//! A real server for tests, on a free loopback port.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::Replicas;
use super::server::Server;
use super::settings::{ServerAddress, ServerSettings};
use crate::clock::SteadyClock;
use crate::deflate::Separator;
use crate::domain::Timestamp;
use crate::sealed::SecretSource;
use crate::sealed::testing::{TempFolder, at, cell, entry, scope, secret, span};
use crate::shutdown::Shutdown;
use crate::tier::{ScopeChanges, Tier as _};

pub(super) const WEEK: i64 = 7 * 24 * 3600;

/// Changes with an entry of this number, whose rows were created so many seconds after the beginning of week 100.
pub(super) fn changes(of: u8, number: usize, created: &[i64], read: i64) -> Arc<ScopeChanges> {
    let created: Vec<_> = created.iter().map(|created| 100 * WEEK + created).collect();
    let rows = entry(&created, read);
    let all = span(created[created.len() - 1] - 5, created[0] + 5);
    let number = u128::try_from(number).unwrap();
    let cell = cell(&scope(of), number, all, rows.index(), read);
    let key = cell.entries[0].key;
    Arc::new(ScopeChanges { cells: vec![cell], rows: vec![(key, rows)], ..ScopeChanges::default() })
}

/// The bytes of the rows that a process finds.
pub(super) async fn row_texts(tier: &Replicas, of: u8) -> Vec<Vec<u8>> {
    let cells = tier.load(&scope(of), 0).await.cells;
    let entries = cells.iter().flat_map(|cell| &cell.entries);
    let entries: Vec<_> = entries.map(|entry| (entry.key, Arc::clone(&entry.index))).collect();
    let rows = tier.load_rows(&scope(of), entries).await;
    rows.into_iter().map(|entry| entry.unwrap().plain(Separator::Line).unwrap().to_vec()).collect()
}

/// A `redis-server` that saves nothing to disk. Dropping this ends it.
pub(super) struct TestServer {
    child: Child,
    pub(super) port: u16,
    folder: TempFolder,
    /// The time that each process's clock shows when the process opens.
    pub(super) now: Timestamp,
}

impl TestServer {
    /// Starts a server, and waits until it answers.
    pub(super) fn start() -> Self {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = TempFolder::new();
            let child = Self::spawn(port, &folder);
            let mut server = Self { child, port, folder, now: at(200 * WEEK) };
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

    /// Kills the server, and starts an empty one in its place.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.child = Self::spawn(self.port, &self.folder);
        assert!(self.answers());
    }

    /// Sends a command, and returns the first bytes of the reply.
    pub(super) fn tell(&self, words: &[&str]) -> String {
        self.try_tell(words).unwrap()
    }

    /// Runs a script.
    pub(super) fn run(&self, script: &str) -> String {
        self.tell(&["EVAL", script, "0"])
    }

    /// Kills the server.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Opens a tier under these lines of the secret, and waits until it is up.
    pub(super) async fn open(&self, digits: &[u8]) -> Arc<Replicas> {
        let lines: Vec<_> = digits.iter().map(|digit| digit.to_string().repeat(40)).collect();
        let file = self.folder.path().join(format!("secret-{digits:?}"));
        std::fs::write(&file, lines.join("\n")).unwrap();
        let secret = SecretSource::read(&file).unwrap();
        let (clock, shutdown) = (SteadyClock::showing(self.now), Shutdown::default());
        let two_days = Duration::from_secs(2 * 24 * 3600);
        let tier = Replicas::open(&self.settings(), secret, two_days, &clock, &shutdown);
        tier.until_up().await;
        tier
    }

    /// The key of the void marks under the secret of ones.
    pub(super) fn marks_key(&self) -> String {
        String::from_utf8(super::scripts::marks_key(secret(&[1]).first())).unwrap()
    }

    /// When rows were read, in seconds.
    pub(super) fn read_at(&self) -> i64 {
        self.now.as_micros() / 1_000_000 - 60
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

    /// Waits until this server replies. Returns false if it has ended.
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

    /// Opens connections, and waits until they are up.
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
