use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::Simulator;
use super::trouble::Reset;
use crate::shutdown::Shutdown;

/// The pause after accepting failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Simulator {
    /// Serves HTTP/1.1 and h2c on a listener until the drain begins. Connections end after their responses in
    /// progress, or when ordered to.
    pub async fn serve(&self, listener: TcpListener, shutdown: &Shutdown) {
        let router = self.router();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.drain_begun() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    shutdown.spawn(converse(stream, peer, router.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "The simulator can't accept connections: {error}.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: Shutdown) {
    // Small answers must not wait for the acknowledgment of others.
    let _ = stream.set_nodelay(true);
    let is_reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { stream, is_reset: Arc::clone(&is_reset) };
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (router, is_reset) = (router.clone(), Arc::clone(&is_reset));
        let version = request.version();
        async move {
            let response = match router.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            refuse_reset(response, version, &is_reset)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut is_draining = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shutdown.end_ordered() => return,
            () = shutdown.drain_begun(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "A connection to the simulator broke: {error}.");
    }
}

/// An error in place of an answer makes the connection (of HTTP/2 the stream) end without one.
fn refuse_reset(response: Response, version: http::Version, is_reset: &AtomicBool) -> io::Result<Response> {
    if response.extensions().get::<Reset>().is_none() {
        return Ok(response);
    }
    if version < http::Version::HTTP_2 {
        is_reset.store(true, Ordering::SeqCst);
    }
    Err(io::Error::from(io::ErrorKind::ConnectionReset))
}

/// A socket that says RST instead of FIN when it is dropped after a fault.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    is_reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
