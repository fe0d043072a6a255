//! Connections that can be closed unread, or cut before the answer: what a client meets when a
//! backend dies.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::Shared;

/// Cuts one connection: nothing more is written to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scissors(Arc<AtomicBool>);

impl Scissors {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Accepts connections that obey the faults.
pub(super) struct FaultyListener {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl FaultyListener {
    pub(super) fn new(listener: TcpListener, shared: Arc<Shared>) -> Self {
        Self { listener, shared }
    }
}

impl Listener for FaultyListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Small answers must not wait for more: a delay of 40 ms would be measured as ours.
                    // A socket that refuses the option still works.
                    let _ = stream.set_nodelay(true);
                    let (shared, scissors) = (Arc::clone(&self.shared), Scissors::default());
                    return (
                        Wire {
                            stream,
                            shared,
                            scissors,
                            is_admin: false,
                        },
                        address,
                    );
                }
                // Out of file handles, most often: others close theirs in time.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    shared: Arc<Shared>,
    scissors: Scissors,
    /// It carried a request of the administrator's, who is never met by a fault.
    is_admin: bool,
}

impl Connected<IncomingStream<'_, FaultyListener>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, FaultyListener>) -> Self {
        stream.io().scissors.clone()
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut on request")
}

impl Wire {
    /// Looks at what came without taking it, so that a connection closed now is closed unread.
    fn poll_is_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0u8; 64];
        let mut seen = ReadBuf::new(&mut space);
        ready!(self.stream.poll_peek(cx, &mut seen))?;
        if seen.filled().windows(10).any(|part| part == b" /sandbox/") {
            self.is_admin = true;
            return Poll::Ready(Ok(false));
        }
        // Nothing there means that the other side closed; the read itself will say so.
        Poll::Ready(Ok(!seen.filled().is_empty() && self.shared.take_down()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.scissors.is_cut() {
            return Poll::Ready(Err(reset()));
        }
        if self.shared.is_down() && !self.is_admin && ready!(self.poll_is_down(cx))? {
            self.scissors.cut();
            return Poll::Ready(Err(reset()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.scissors.is_cut() {
            return Poll::Ready(Err(reset()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.scissors.is_cut() {
            return Poll::Ready(Err(reset()));
        }
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
