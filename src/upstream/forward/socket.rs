use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A socket that continues to read after a failed write.
///
/// An upstream that refuses a large request early (413) responds and closes. The client notices the failed
/// write first and would give up without reading the response. So bytes written after a failure are
/// discarded, and the connection ends when reading ends: with the response, or with the error.
#[derive(Debug)]
pub(super) struct Socket {
    inner: TokioIo<TcpStream>,
    is_write_broken: bool,
}

impl Socket {
    pub(super) const fn new(inner: TokioIo<TcpStream>) -> Self {
        Self { inner, is_write_broken: false }
    }

    /// The result of a write of `length` bytes: a failure counts as success.
    fn forgive(&mut self, polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if is_of_the_peer(&error) => {
                self.is_write_broken = true;
                Poll::Ready(Ok(length))
            }
            polled @ (Poll::Ready(_) | Poll::Pending) => polled,
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_write_broken {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.forgive(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_write_broken {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.forgive(polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        // Use origin form also behind a proxy: the request goes through its tunnel to upstream.
        self.inner.connected()
    }
}
