use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::ServerLimits;
use super::connection::{self, Host};
use super::flow::ConnectionFlow;
use super::heads::Heads;
use super::roster::Roster;
use crate::shutdown::Shutdown;
use crate::telemetry::ConnectionCounts;

/// How long to wait when the system has no file handle or memory for a connection, so that other connections may close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The most unsent bytes that the kernel buffers for a connection.
///
/// Without a bound the kernel buffers megabytes per client. A slow reader then looks stalled while it drains
/// them, because the socket becomes writable again only when a third of its buffer is free.
const UNSENT_BYTES: u32 = 256 * 1024;

/// How often an idle connection is closed while a new one waits for a place.
const SHED_INTERVAL: Duration = Duration::from_millis(100);

/// Accepts connections until the drain begins, and serves each in its own task.
///
/// Returns once it has stopped accepting. The shutdown waits for the connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    counts: ConnectionCounts,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let roster = Arc::new(Roster::default());
    let heads = Arc::new(Heads::new(limits.head_bytes));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.drain_begun() => return,
            accepted = accept(&listener, &places, &roster) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                prepare(&stream);
                let flow = Arc::new(ConnectionFlow::new(Arc::clone(&heads)));
                let entry = roster.enter(Arc::clone(&flow));
                let host = Host { peer, limits, counts: counts.clone(), shutdown: shutdown.clone() };
                let run = connection::run(stream, router.clone(), flow, host);
                let open = counts.open();
                shutdown.spawn(async move {
                    run.await;
                    drop((place, entry, open));
                });
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(target: "fanfold::connection", %error, "A connection was closed before it was accepted: {error}.");
            }
            Err(error) => {
                warn!(target: "fanfold::connection", %error, "Connections can't be accepted: {error}.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts a connection and waits for a place, closing idle connections if necessary. Meanwhile other connections wait in
/// the listener's queue, where they cost nothing.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    roster: &Roster,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let (stream, address) = listener.accept().await?;
    loop {
        let place = Arc::clone(places).acquire_owned();
        match tokio::time::timeout(SHED_INTERVAL, place).await {
            Ok(place) => return Ok((stream, address.ip(), place.map_err(io::Error::other)?)),
            Err(_) => roster.shed(),
        }
    }
}

fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    // The connection works without either.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
}

/// Whether an error of `accept` concerns only one connection.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
