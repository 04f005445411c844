//! One connection, opened in the background and replaced when it fails.
//!
//! The crate's own `ConnectionManager` is not used, because it keeps a connection whose peer is silent, and one to a primary
//! that was demoted.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::ReconnectPause;
use super::connection::{LuaScript, OpenedConnection, SendError, ServerCommand};
use super::reply::{CallError, ServerReply};
use super::settings::ServerSettings;
use crate::clock::SteadyClock;

/// The longest wait for a connection to open.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// The last part of each wait for a reply. A busy process may notice that the time is over before it reads a reply that has
/// long arrived; this lets it read that reply.
const GRACE: Duration = Duration::from_millis(25);

/// How often a connection that did not reply in time is probed before it is replaced. Together with the command that timed
/// out, that makes three timeouts in a row.
const PROBES: usize = 2;

/// After a connection that lasted this long, the pauses between attempts start short again.
const LONG_LIVED: Duration = Duration::from_secs(5);

/// The key that a probe writes.
const PROBE_KEY: &[u8] = b"ff1:probe";

/// Returns the server's time, and the error of a write, if there is one.
static PROBE: LuaScript = LuaScript::new(
    "local time = redis.call('TIME')\n\
     local put = redis.pcall('SET', KEYS[1], '1', 'PX', 1000)\n\
     return {time[1], time[2], put['err'] or ''}",
);

/// A measurement of a server's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerClock {
    /// How far the server's clock is ahead of this machine's, in microseconds.
    pub(super) ahead: i64,
    /// The largest error of the measurement, in microseconds: half of the round trip.
    pub(super) off_by: i64,
}

/// A connection that is replaced when it fails.
pub(super) struct Link {
    settings: ServerSettings,
    clock: SteadyClock,
    /// The longest wait for a reply.
    patience: Duration,
    live: Mutex<Option<LiveLink>>,
    /// A reply was late, and probes are finding out whether the server still replies.
    is_suspect: AtomicBool,
    /// Wakes the supervisor: the connection is suspect, or broke.
    wake: Notify,
    /// Wakes callers of `until_up`.
    up: Notify,
    fault: Mutex<Option<String>>,
    server_clock: Mutex<Option<ServerClock>>,
    opened: AtomicU64,
}

#[derive(Clone)]
struct LiveLink {
    connection: OpenedConnection,
    /// Canceled when the connection is no longer usable, so that no call waits for it.
    ended: CancellationToken,
}

impl Link {
    /// A link that is down until [`supervise`](Self::supervise) runs. `patience` is the longest wait for a reply.
    pub(super) fn new(settings: ServerSettings, clock: SteadyClock, patience: Duration) -> Self {
        Self {
            settings,
            clock,
            patience,
            live: Mutex::default(),
            is_suspect: AtomicBool::new(false),
            wake: Notify::new(),
            up: Notify::new(),
            fault: Mutex::default(),
            server_clock: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// Whether calls are sent: a connection is open and not suspect.
    pub(super) fn is_up(&self) -> bool {
        self.usable().is_some()
    }

    /// How often the connection was replaced.
    pub(super) fn reconnects(&self) -> u64 {
        self.opened.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Why it was last down, in words.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// The latest measurement of the server's clock.
    pub(super) fn server_clock(&self) -> Option<ServerClock> {
        *self.server_clock.lock()
    }

    /// Waits until calls are sent again.
    pub(super) async fn until_up(&self) {
        loop {
            let changed = self.up.notified();
            if self.is_up() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the current connection is no longer usable.
    pub(super) async fn until_replaced(&self) {
        let live = self.live.lock().clone();
        if let Some(live) = live {
            live.ended.cancelled().await;
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// There is no reply in time, or the server refuses.
    pub(super) async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> Result<ServerReply, CallError> {
        match self.call(script.by_hash(keys, args)).await {
            // The server restarted, failed over, or ran SCRIPT FLUSH. It knows the script from then on.
            Err(CallError::Refused(why)) if why.starts_with("NOSCRIPT") => {
                self.call(script.whole(keys, args)).await
            }
            other => other,
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// There is no reply in time, or the server refuses.
    pub(super) async fn call(&self, command: ServerCommand) -> Result<ServerReply, CallError> {
        let Some(live) = self.usable() else { return Err(CallError::Away) };
        let reply = async {
            let mut sent = pin!(live.connection.send(&command));
            match timeout(self.patience.saturating_sub(GRACE), &mut sent).await {
                Err(_) => timeout(GRACE, sent).await,
                replied => replied,
            }
        };
        tokio::select! {
            replied = reply => match replied {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(error)) => Err(self.failed(&live, error)),
                Err(_) => {
                    self.suspect();
                    Err(CallError::Unknown("no reply in time".to_owned()))
                }
            },
            () = live.ended.cancelled() => Err(CallError::Unknown("the connection broke".to_owned())),
        }
    }

    fn usable(&self) -> Option<LiveLink> {
        let live = self.live.lock().clone();
        live.filter(|live| !self.is_suspect.load(Ordering::Relaxed) && !live.ended.is_cancelled())
    }

    /// Translates an error. Unless the server only refused the command, ends the connection, so that it is replaced.
    fn failed(&self, live: &LiveLink, error: SendError) -> CallError {
        let error = match error {
            SendError::Refused(why) => return CallError::Refused(why),
            SendError::Unusable(why) => CallError::Refused(why),
            SendError::Broken(why) => CallError::Unknown(why),
        };
        *self.fault.lock() = Some(error.to_string());
        live.ended.cancel();
        self.wake.notify_one();
        error
    }

    /// Fails all calls at once until probes have found out whether the server replies.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Keeps a connection open: opens it, waits until it is unusable, and opens the next. Never returns.
    pub(super) async fn supervise(&self) {
        let (mut pause, mut is_said) = (ReconnectPause::default(), false);
        loop {
            let began = Instant::now();
            let opened = timeout(CONNECT_TIME, self.connect()).await;
            match opened.unwrap_or_else(|_| Err("no reply in time".to_owned())) {
                Ok(live) => {
                    tracing::info!(target: "fanfold::tier", server = %self.settings.address, "The tier answers.");
                    is_said = false;
                    self.put(live.clone());
                    self.until_broken(&live).await;
                    self.take(&live);
                    if began.elapsed() > LONG_LIVED {
                        pause = ReconnectPause::default();
                    }
                }
                Err(fault) => *self.fault.lock() = Some(fault),
            }
            if !std::mem::replace(&mut is_said, true) {
                let fault = self.fault().unwrap_or_default();
                tracing::warn!(target: "fanfold::tier", server = %self.settings.address, fault, "The tier is away: {fault}. Rows are served from memory and read from upstream.");
            }
            sleep(pause.next(rand::random())).await;
        }
    }

    fn put(&self, live: LiveLink) {
        self.is_suspect.store(false, Ordering::Relaxed);
        *self.live.lock() = Some(live);
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.up.notify_waiters();
    }

    fn take(&self, live: &LiveLink) {
        *self.live.lock() = None;
        live.ended.cancel();
    }

    /// Waits until a connection is no longer usable. Probes it when it is suspect.
    async fn until_broken(&self, live: &LiveLink) {
        loop {
            self.wake.notified().await;
            if live.ended.is_cancelled() {
                return;
            }
            if !self.is_suspect.load(Ordering::Relaxed) {
                continue;
            }
            *self.fault.lock() = Some("no reply in time".to_owned());
            if !self.answers(live).await {
                return;
            }
            self.is_suspect.store(false, Ordering::Relaxed);
            self.up.notify_waiters();
        }
    }

    /// Probes a suspect connection, and returns whether it still replies.
    async fn answers(&self, live: &LiveLink) -> bool {
        for _ in 0..PROBES {
            match timeout(self.settings.timeout, self.probe(&live.connection)).await {
                Ok(Ok(())) => return true,
                Ok(Err(fault)) => {
                    *self.fault.lock() = Some(fault);
                    return false;
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Opens a connection, and checks that the server replies and accepts writes.
    async fn connect(&self) -> Result<LiveLink, String> {
        let connection = OpenedConnection::open(&self.settings).await?;
        self.probe(&connection).await?;
        Ok(LiveLink { connection, ended: CancellationToken::new() })
    }

    async fn probe(&self, connection: &OpenedConnection) -> Result<(), String> {
        let sent = self.clock.now();
        let reply = connection.send(&PROBE.whole(&[PROBE_KEY], &[])).await;
        let took = self.clock.now().since(sent);
        let reply = reply.map_err(SendError::into_text)?.list();
        let [seconds, micros, fault] = &reply[..] else { return Err("it is not a Redis server".to_owned()) };
        let fault = fault.clone().bytes().unwrap_or_default();
        let fault = String::from_utf8_lossy(&fault);
        // A server that is full, or can't save to its disk, can still be read.
        if !(fault.is_empty() || fault.contains("OOM") || fault.contains("MISCONF")) {
            return Err(fault.into_owned());
        }
        if let (Some(seconds), Some(micros)) = (seconds.number(), micros.number()) {
            let off_by = i64::try_from(took.as_micros() / 2).unwrap_or(i64::MAX);
            let now = sent.as_micros().saturating_add(off_by);
            let ahead = seconds.saturating_mul(1_000_000).saturating_add(micros).saturating_sub(now);
            *self.server_clock.lock() = Some(ServerClock { ahead, off_by });
        }
        Ok(())
    }
}
