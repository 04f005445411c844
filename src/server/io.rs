use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flow::{ConnectionFlow, Protocol};

/// The first bytes of the h2 connection preface (RFC 9113, section 3.4). No usual HTTP/1 method begins with them.
const H2_PREFIX: &[u8] = b"PRI";

/// A socket that records what passes through it.
#[derive(Debug)]
pub(super) struct WatchedIo<T> {
    inner: T,
    flow: Arc<ConnectionFlow>,
    protocol: Protocol,
}

/// A connection's unfinished head would exceed the memory bound, see [`super::heads`].
#[derive(Debug, thiserror::Error)]
#[error("unfinished request heads hold too much memory")]
pub(super) struct NoRoom;

impl<T> WatchedIo<T> {
    pub(super) const fn new(inner: T, flow: Arc<ConnectionFlow>) -> Self {
        Self { inner, flow, protocol: Protocol::Unknown }
    }

    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => self.flow.wrote(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.flow.blocked(),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            if this.protocol == Protocol::Unknown {
                let common = read.len().min(H2_PREFIX.len());
                let is_h2 = read[..common] == H2_PREFIX[..common];
                this.protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
            }
            if !this.flow.received(read.len(), this.protocol) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, NoRoom)));
            }
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.note_write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.flow.flushes().begin(cx);
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        if let Poll::Ready(Ok(())) = result {
            // Hyper flushes once it has written everything that it holds.
            this.flow.flushes().end();
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
