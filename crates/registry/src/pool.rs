//! Connections: one exchange at a time on each, idle ones kept for a while and used again.
//!
//! A connection has no task of its own: whoever waits for its response drives it. Bytes so reach their reader without
//! another task being woken, and a dropped response closes its connection.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::connect::{Route, Stream, connect};
use crate::failure::HostFailure;
use crate::limits;
use crate::origin::{Authority, Origin};

pub(crate) type Request = http::Request<Full<Bytes>>;

/// Two routes with the same key may use the same connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: Origin,
    tls: Option<u64>,
    proxy: Option<Authority>,
}

/// The idle connections.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: HashMap<Key, Vec<(Instant, Connection)>>,
    /// Whether a task waits to close what grows old.
    watched: bool,
}

/// A response whose body is still to come.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: http::response::Parts,
    pub(crate) body: ResponseBody,
}

/// The rest of a response and the connection that it comes on.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    incoming: Incoming,
    connection: Option<Connection>,
    home: (Key, Weak<Pool>),
}

impl Pool {
    /// Sends a request and waits for the head of its response, at most `answer_within` once there is a connection.
    pub(crate) async fn request(
        self: &Arc<Self>,
        route: &Route,
        request: Request,
        answer_within: Duration,
    ) -> Result<Response, HostFailure> {
        let tls = route.tls.as_ref().map(|setup| setup.id);
        let proxy = route.proxy.as_ref().map(|proxy| proxy.authority.clone());
        let key = Key { origin: route.origin.clone(), tls, proxy };
        let no_answer = |_| HostFailure::NoAnswer(answer_within);
        while let Some(mut connection) = self.take(&key) {
            // The peer may have closed a kept connection at any moment; then the request goes out again on another.
            if let Ok(response) =
                timeout(answer_within, connection.exchange(request.clone())).await.map_err(no_answer)?
            {
                return Ok(self.response(key, connection, response));
            }
        }
        let stream = connect(route).await.map_err(HostFailure::Connect)?;
        let mut connection = Connection::open(stream).await.map_err(HostFailure::Broken)?;
        let response = timeout(answer_within, connection.exchange(request)).await.map_err(no_answer)?;
        Ok(self.response(key, connection, response.map_err(HostFailure::Broken)?))
    }

    fn response(self: &Arc<Self>, key: Key, connection: Connection, response: http::Response<Incoming>) -> Response {
        let (head, incoming) = response.into_parts();
        let body = ResponseBody { incoming, connection: Some(connection), home: (key, Arc::downgrade(self)) };
        Response { head, body }
    }

    fn take(&self, key: &Key) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.connections.get_mut(key)?;
        let (since, connection) = kept.pop()?;
        if since.elapsed() < limits::IDLE_TIMEOUT {
            return Some(connection);
        }
        // The others are older still.
        idle.connections.remove(key);
        None
    }

    fn give_back(self: &Arc<Self>, key: &Key, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.connections.entry(key.clone()).or_default();
        if kept.len() >= limits::IDLE_PER_ORIGIN {
            return;
        }
        kept.push((Instant::now(), connection));
        if !std::mem::replace(&mut idle.watched, true) {
            tokio::spawn(close_the_old(Arc::downgrade(self)));
        }
    }

    /// Answers whether any are left.
    fn prune(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in idle.connections.values_mut() {
            kept.retain(|(since, _)| since.elapsed() < limits::IDLE_TIMEOUT);
        }
        idle.connections.retain(|_, kept| !kept.is_empty());
        idle.watched = !idle.connections.is_empty();
        idle.watched
    }
}

/// Lives only while there is something to close.
async fn close_the_old(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(limits::IDLE_TIMEOUT).await;
        match pool.upgrade() {
            Some(pool) if pool.prune() => (),
            _ => return,
        }
    }
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// None once the connection is over: a finished future must not be polled.
    driver: Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", if self.driver.is_some() { "open" } else { "over" })
    }
}

impl Connection {
    async fn open(stream: Stream) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(limits::READ_MAX_BYTES).max_header_size(limits::HEAD_MAX_BYTES);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver: Some(driver) })
    }

    /// Moves bytes between the socket and the exchange; what is learned of it shows there.
    fn drive(driver: &mut Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>, cx: &mut Context<'_>) {
        if let Some(running) = driver
            && Pin::new(running).poll(cx).is_ready()
        {
            *driver = None;
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<http::Response<Incoming>, hyper::Error> {
        poll_fn(|cx| {
            Self::drive(&mut self.driver, cx);
            self.sender.poll_ready(cx)
        })
        .await?;
        let mut response = pin!(self.sender.send_request(request));
        poll_fn(|cx| {
            Self::drive(&mut self.driver, cx);
            response.as_mut().poll(cx)
        })
        .await
    }
}

impl ResponseBody {
    /// The next bytes as they came from the socket; none at the end, after which the connection can serve others.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            match poll_fn(|cx| self.poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.release();
                    return Ok(None);
                }
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return ready;
        }
        if let Some(connection) = &mut self.connection {
            Connection::drive(&mut connection.driver, cx);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn release(&mut self) {
        let (key, pool) = &self.home;
        if let (Some(connection), Some(pool)) = (self.connection.take(), pool.upgrade())
            && connection.driver.is_some()
        {
            pool.give_back(key, connection);
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn whole(mut self, limit: usize, within: Duration) -> Result<Bytes, HostFailure> {
        if self.incoming.size_hint().lower() > limit as u64 {
            return Err(HostFailure::TooLarge { limit });
        }
        let read = async {
            let mut first = Bytes::new();
            let mut rest = BytesMut::new();
            while let Some(bytes) = self.chunk().await.map_err(HostFailure::Broken)? {
                if first.len() + rest.len() + bytes.len() > limit {
                    return Err(HostFailure::TooLarge { limit });
                }
                if first.is_empty() {
                    first = bytes;
                } else {
                    rest.extend_from_slice(&bytes);
                }
            }
            Ok(if rest.is_empty() { first } else { [&first[..], &rest[..]].concat().into() })
        };
        timeout(within, read).await.map_err(|_| HostFailure::Slow(within))?
    }

    /// What there is of an uninteresting body, so that its connection can be used again; not worth much time.
    pub(crate) async fn drained(self) -> Bytes {
        self.whole(limits::ERROR_BODY_MAX_BYTES, limits::DRAIN_TIMEOUT).await.unwrap_or_default()
    }
}

/// The body of a request that has none.
pub(crate) fn no_body() -> Full<Bytes> {
    Full::default()
}
