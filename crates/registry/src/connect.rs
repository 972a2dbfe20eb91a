//! Makes a connection: to a socket of this machine, to a host, or to a host through a proxy; with TLS where the origin says
//! so.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::limits;
use crate::origin::{Authority, Origin};
use crate::proxy::Proxy;
use crate::retry::Again;
use crate::tls::TlsSetup;

/// How an origin is reached.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) origin: Origin,
    /// Set for origins with TLS.
    pub(crate) tls: Option<Arc<TlsSetup>>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) dial_timeout: Duration,
}

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot look up {host}")]
    Lookup { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {to}")]
    Dial { to: String, source: io::Error },
    #[error("no connection to {to} within {within:?}")]
    Timeout { to: String, within: Duration },
    #[error("{host} is not a name that a certificate can be for")]
    Name { host: String },
    #[error("no secure connection to {host}")]
    Tls { host: String, source: io::Error },
    #[error("the proxy {proxy} did not connect to {to}: {said}")]
    Proxy { proxy: String, to: String, said: String },
    #[error("cannot speak with the proxy {proxy}")]
    ProxyBroken { proxy: String, source: io::Error },
}

impl ConnectError {
    pub(crate) fn again(&self) -> Again {
        match self {
            ConnectError::Lookup { .. } | ConnectError::Dial { .. } | ConnectError::ProxyBroken { .. } => Again::Once,
            // A certificate does not get better, a connection cut during the handshake may.
            ConnectError::Tls { source, .. } if source.kind() != io::ErrorKind::InvalidData => Again::Once,
            _ => Again::Never,
        }
    }

    /// What rustls says about the peer, if that is what failed.
    pub(crate) fn tls_error(&self) -> Option<&rustls::Error> {
        match self {
            ConnectError::Tls { source, .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

/// A connection that bytes go through.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connects within the route's time.
pub(crate) async fn connect(route: &Route) -> Result<Stream, ConnectError> {
    match timeout(route.dial_timeout, connect_unbounded(route)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout { to: route.origin.to_string(), within: route.dial_timeout }),
    }
}

async fn connect_unbounded(route: &Route) -> Result<Stream, ConnectError> {
    let (authority, tls) = match &route.origin {
        Origin::Unix(path) => return dial_socket(path).await,
        Origin::Http(authority) => (authority, None),
        Origin::Https(authority) => (authority, route.tls.as_ref()),
    };
    let tcp = dial(route.proxy.as_ref().map_or(authority, |proxy| &proxy.authority)).await?;
    let Some(setup) = tls else { return Ok(Stream::Plain(tcp)) };
    let tcp = match &route.proxy {
        Some(proxy) => tunnel(tcp, proxy, authority).await?,
        None => tcp,
    };
    let host = &authority.host;
    let name = ServerName::try_from(host.clone()).map_err(|_| ConnectError::Name { host: host.clone() })?;
    let stream = TlsConnector::from(setup.config.clone()).connect(name, tcp).await;
    let stream = stream.map_err(|source| ConnectError::Tls { host: authority.to_string(), source })?;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn dial_socket(path: &PathBuf) -> Result<Stream, ConnectError> {
    let stream = UnixStream::connect(path).await;
    stream.map(Stream::Unix).map_err(|source| ConnectError::Dial { to: path.display().to_string(), source })
}

/// Connects to the first address that answers; each gets a head start over the next (RFC 8305), so that a dead address
/// family costs a moment and not the whole time.
async fn dial(authority: &Authority) -> Result<TcpStream, ConnectError> {
    let host = authority.host.as_str();
    let found = tokio::net::lookup_host((host, authority.port)).await;
    let found = found.map_err(|source| ConnectError::Lookup { host: host.to_owned(), source })?;
    let mut addresses = alternating(found.collect()).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = ConnectError::NoAddress { host: host.to_owned() };
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let more = addresses.len() > 0;
        let ended = match timeout(limits::NEXT_ADDRESS_DELAY, attempts.join_next()).await {
            Ok(ended) => ended,
            Err(_) if more => continue,
            Err(_) => attempts.join_next().await,
        };
        match ended {
            None => return Err(last),
            Some(Ok((_, Ok(stream)))) => {
                // Requests are small and wait for nothing; failing to say so only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Some(Ok((address, Err(source)))) => last = ConnectError::Dial { to: address.to_string(), source },
            Some(Err(source)) => {
                last = ConnectError::Dial { to: authority.to_string(), source: io::Error::other(source) };
            }
        }
    }
}

/// The same addresses with the families taking turns, the resolver's first choice first.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut mixed: Vec<_> = preferred.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

/// Asks a proxy for a tunnel to `to` (RFC 9110, section 9.3.6).
async fn tunnel(mut tcp: TcpStream, proxy: &Proxy, to: &Authority) -> Result<TcpStream, ConnectError> {
    let broken = |source| ConnectError::ProxyBroken { proxy: proxy.to_string(), source };
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    tcp.write_all(&request).await.map_err(broken)?;
    let mut answer = Vec::new();
    // The server behind the tunnel speaks only after it was spoken to, so nothing of it can follow the head.
    while !answer.ends_with(b"\r\n\r\n") {
        let space = limits::HEAD_MAX_BYTES - answer.len();
        let read = (&mut tcp).take(space as u64).read_buf(&mut answer).await.map_err(broken)?;
        if read == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let first_line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    let said = String::from_utf8_lossy(first_line).into_owned();
    match said.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(tcp),
        _ => Err(ConnectError::Proxy { proxy: proxy.to_string(), to: to.to_string(), said }),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = read(&["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]);
        let expected = read(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "127.0.0.3:1"]);
        assert_eq!(alternating(given), expected);
    }
}
