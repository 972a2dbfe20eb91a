//! A client's connection: TCP, with TLS or without.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::carrier::{ReadHalf, WriteHalf};
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How the kernel decides when to send on loopback. It is never without this one.
const LOOPBACK_CONGESTION_CONTROL: &str = "reno";

/// Nothing is congested on loopback, but what the machine uses for its networks counts there as well: BBR holds each
/// segment back by a timer, which costs more than all the rest of sending it.
pub(crate) fn do_not_pace(loopback: impl AsFd) {
    // Without, it is slower.
    let _ = rustix::net::sockopt::set_tcp_congestion(loopback, LOOPBACK_CONGESTION_CONTROL);
}

/// Small messages are sent at once, and a client whose machine is gone is noticed.
pub(crate) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(tcp, true)?;
    rustix::net::sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    rustix::net::sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    rustix::net::sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)?;
    if tcp.peer_addr()?.ip().to_canonical().is_loopback() {
        do_not_pace(tcp);
    }
    Ok(())
}

/// Notices that a client's connection has broken, also while nothing is read from it or written to it: its input may wait
/// for a process that reads none.
pub(crate) struct Hangup(AsyncFd<OwnedFd>);

impl Hangup {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for types that may close it meanwhile; an OwnedFd does not"
    )]
    fn watch(tcp: &TcpStream) -> io::Result<Self> {
        // A descriptor of its own: what is awaited here is not taken from those who read and write.
        let copy = rustix::io::fcntl_dupfd_cloexec(tcp, 0)?;
        Ok(Hangup(AsyncFd::with_interest(copy, Interest::ERROR)?))
    }

    /// Waits for it.
    pub async fn happened(&self) {
        // An error says that the runtime ends.
        let _ = self.0.ready(Interest::ERROR).await;
    }
}

/// A connection after its upgrade.
pub(crate) type Connection = Early<Socket>;

impl Connection {
    /// `early` is what was read of it already.
    pub fn new(socket: Socket, early: Bytes) -> Self {
        Early { bytes: early, inner: socket }
    }

    /// # Errors
    /// There is no descriptor left.
    pub fn hangup(&self) -> io::Result<Hangup> {
        Hangup::watch(match &self.inner {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        })
    }

    /// The two directions.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        let bytes = self.bytes;
        match self.inner {
            Socket::Plain(tcp) => {
                let (read, write) = tcp.into_split();
                (Box::new(Early { bytes, inner: read }), Box::new(write))
            }
            Socket::Tls(tls) => {
                let (read, write) = tokio::io::split(*tls);
                (Box::new(Early { bytes, inner: read }), Box::new(write))
            }
        }
    }
}

/// Gives bytes that were read already, and then what comes.
pub(crate) struct Early<S> {
    bytes: Bytes,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Early<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, space);
        }
        let count = self.bytes.len().min(space.remaining());
        space.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Early<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(context, space),
            Socket::Tls(tls) => Pin::new(tls).poll_read(context, space),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Socket::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, parts),
            Socket::Tls(tls) => Pin::new(tls).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Plain(tcp) => tcp.is_write_vectored(),
            Socket::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
