//! Listens, hands out URLs, and holds every connection within its bounds.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cradle_domain::{Class, Classified, Failure};
use cradle_engine::Engine;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::buffers::Buffers;
use crate::flag::raised;
use crate::half_open::{HalfOpen, Ticket};
use crate::http::{self, Accepted};
use crate::limits::{
    ACCEPT_RETRY, DETACHED_MAX, FAREWELL, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, REQUEST_HEAD_MAX_BYTES, SESSIONS_MAX,
    STREAM_CREATION_TIMEOUT,
};
use crate::request::Request;
use crate::session;
use crate::socket::{self, Connection, Socket};
use crate::tls::{CertificateError, CertificateFiles, Tls};
use crate::tokens::{Asked, Tokens};

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0: one that is free.
    pub address: SocketAddr,
    /// Without: no TLS.
    pub certificate: Option<CertificateFiles>,
    pub idle_timeout: Duration,
    pub stream_creation_timeout: Duration,
    pub handshake_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            certificate: None,
            idle_timeout: IDLE_TIMEOUT,
            stream_creation_timeout: STREAM_CREATION_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

/// A server that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address} for streaming")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot serve TLS for streaming")]
    Certificate(#[source] CertificateError),
}

impl Classified for BindError {
    fn class(&self) -> Class {
        match self {
            BindError::Listen { .. } => Class::Unavailable,
            BindError::Certificate(error) => error.class(),
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub tokens: Tokens,
    pub sessions: Arc<Semaphore>,
    /// Sessions without a client, which count as sessions too.
    pub detached: Semaphore,
    pub engine: Arc<Engine>,
    pub buffers: Arc<Buffers>,
    pub config: Config,
    tls: Option<Tls>,
}

/// Hands out URLs.
#[derive(Clone)]
pub struct Urls {
    shared: Arc<Shared>,
    base: Arc<str>,
}

impl Urls {
    /// A URL at which a client gets `request`, once and within a minute.
    ///
    /// # Errors
    /// Too many URLs wait for their clients.
    pub fn url(&self, request: Request) -> Result<String, Failure> {
        let kind = request.kind();
        let asked = Asked { request, request_id: cradle_engine::request::current() };
        let token = self.shared.tokens.insert(asked, Instant::now())?;
        Ok(format!("{}/{kind}/{token}", self.base))
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens. Clients wait until [`Server::serve`].
    pub async fn bind(config: Config, engine: Arc<Engine>) -> Result<(Server, Urls), BindError> {
        let tls = config.certificate.clone().map(Tls::load).transpose().map_err(BindError::Certificate)?;
        let address = config.address;
        let listen = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = listen.await.map_err(|source| BindError::Listen { address, source })?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", reachable(bound)).into();
        let shared = Arc::new(Shared {
            tokens: Tokens::default(),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            detached: Semaphore::new(DETACHED_MAX),
            engine,
            buffers: Arc::default(),
            config,
            tls,
        });
        Ok((Server { listener, shared: shared.clone() }, Urls { shared, base }))
    }

    /// Serves until `stop` is set; then every client is told, and has a moment to take that.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let mut half_open = HalfOpen::default();
        let mut connections = JoinSet::new();
        let for_each = stop.clone();
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((tcp, _)) => {
                        let ticket = Ticket::default();
                        let serving = connection(self.shared.clone(), tcp, ticket.clone(), for_each.clone());
                        half_open.add(connections.spawn(serving), ticket);
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a client of streaming");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
                // Those that have ended are forgotten.
                while connections.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = accept => {}
            () = raised(&mut stop) => {}
        }
        drop(self.listener);
        let told = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, told).await.is_err() {
            debug!("some streaming clients did not take the goodbye");
        }
    }
}

/// An address that clients on this machine can connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// One client: its request, and the session that may come of it.
async fn connection(shared: Arc<Shared>, tcp: TcpStream, ticket: Ticket, mut stop: watch::Receiver<bool>) {
    let asking = Box::pin(ask(&shared, tcp));
    let accepted = tokio::select! {
        accepted = asking => accepted,
        () = raised(&mut stop) => return,
    };
    let complete = ticket.take();
    let Some((connection, Accepted { asked, protocol, permit, .. })) = accepted.filter(|_| complete) else { return };
    let session: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(session::run(shared, connection, asked, protocol, stop));
    session.await;
    drop(permit);
}

/// Reads the request, answers it, and gives the connection if it is upgraded.
async fn ask(shared: &Arc<Shared>, tcp: TcpStream) -> Option<(Connection, Accepted)> {
    let timeout = shared.config.handshake_timeout;
    let socket = match open(shared, tcp, timeout).await {
        Ok(socket) => socket,
        Err(error) => {
            debug!(%error, "a streaming client did not get through its handshake");
            return None;
        }
    };
    let accepted = Mutex::new(None);
    let service = service_fn(|mut request| {
        let (response, session) = http::answer(shared, &mut request);
        *accepted.lock().unwrap_or_else(PoisonError::into_inner) = session;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(REQUEST_HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    if let Err(error) = serving.await {
        debug!(%error, "a streaming client's request could not be served");
    }
    let mut accepted = accepted.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let upgraded = (&mut accepted.upgrade).await.ok()?;
    // It is what was given to `serve_connection`.
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    Some((Connection::new(parts.io.into_inner(), parts.read_buf), accepted))
}

async fn open(shared: &Shared, tcp: TcpStream, timeout: Duration) -> io::Result<Socket> {
    socket::prepare(&tcp)?;
    let Some(tls) = &shared.tls else { return Ok(Socket::Plain(tcp)) };
    let handshake = TlsAcceptor::from(tls.config()).accept(tcp);
    let tls = tokio::time::timeout(timeout, handshake).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    Ok(Socket::Tls(Box::new(tls?)))
}

#[cfg(test)]
mod tests;
