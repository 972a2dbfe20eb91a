//! A connection to a URL of the daemon's: WebSocket with Kubernetes' subprotocol `v5.channel.k8s.io`, whose messages begin
//! with the number of a channel.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_sink::Sink;
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::net::TcpStream;
use tokio_stream::Stream;
use tokio_websockets::{ClientBuilder, CloseCode, Error as Broken, Limits, Message, WebSocketStream};

use crate::error::{Error, innermost};

const SUBPROTOCOL: &str = "v5.channel.k8s.io";
/// In the place of a channel's number: the channel whose number follows has ended.
const CLOSE_SIGNAL: u8 = 255;
/// The status of a goodbye after which the process goes on; after any other a command is hung up.
const DETACH: u16 = 4000;
/// Longer messages are not the daemon's.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

pub struct Link {
    socket: Mutex<WebSocketStream<TcpStream>>,
}

/// What the other side says.
pub enum Said {
    Bytes { channel: u8, bytes: Bytes },
    End { channel: u8 },
}

impl Link {
    pub async fn open(url: &str) -> Result<Self, Error> {
        let Some(rest) = url.strip_prefix("http://") else {
            let text = format!("the daemon serves streams over TLS, which cradle does not speak; crictl does: {url}");
            return Err(Error::Local(text));
        };
        let address = rest.split('/').next().unwrap_or_default();
        let tcp = TcpStream::connect(address).await;
        let tcp = tcp.map_err(|error| Error::Local(format!("cannot connect to the daemon at {address}: {error}")))?;
        tcp.set_nodelay(true).map_err(|error| lost(&error))?;
        let builder = ClientBuilder::new().limits(Limits::default().max_payload_len(Some(MESSAGE_MAX_BYTES)));
        let builder = builder.uri(&format!("ws://{rest}")).map_err(|error| lost(&error))?;
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        let builder = builder.add_header(SEC_WEBSOCKET_PROTOCOL, subprotocol).map_err(|error| lost(&error))?;
        let (socket, _) = builder.connect_on(tcp).await.map_err(|error| lost(&error))?;
        Ok(Link { socket: Mutex::new(socket) })
    }

    /// Held for a call that does not wait.
    fn socket(&self) -> MutexGuard<'_, WebSocketStream<TcpStream>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn message(&self) -> Result<Option<Message>, Error> {
        let message = poll_fn(|context| Pin::new(&mut *self.socket()).poll_next(context)).await;
        message.transpose().map_err(|error| lost(&error))
    }

    /// What comes next; none: the daemon has closed the connection, as it does in the end.
    pub async fn next(&self) -> Result<Option<Said>, Error> {
        loop {
            let Some(message) = self.message().await? else { return Ok(None) };
            if message.is_close() {
                return Ok(None);
            }
            let mut payload = if message.is_binary() { message.into_payload().into() } else { Bytes::new() };
            if payload.is_empty() {
                continue;
            }
            return Ok(Some(match payload.split_to(1)[0] {
                CLOSE_SIGNAL => Said::End { channel: payload.first().copied().unwrap_or(CLOSE_SIGNAL) },
                channel => Said::Bytes { channel, bytes: payload },
            }));
        }
    }

    pub async fn send(&self, channel: u8, bytes: &[u8]) -> Result<(), Error> {
        self.put(Message::binary([&[channel], bytes].concat())).await.map_err(|error| lost(&error))
    }

    /// Tells that no more will be sent on a channel.
    pub async fn end(&self, channel: u8) -> Result<(), Error> {
        self.put(Message::binary(vec![CLOSE_SIGNAL, channel])).await.map_err(|error| lost(&error))
    }

    /// Says goodbye so that the process goes on, and waits for the daemon's consent.
    pub async fn detach(&self) -> Result<(), Error> {
        let status = CloseCode::try_from(DETACH).map_err(|error| lost(&error))?;
        self.put(Message::close(Some(status), "")).await.map_err(|error| lost(&error))?;
        // Output that was on its way is nobody's any more.
        while let Some(message) = self.message().await? {
            if message.is_close() {
                return Ok(());
            }
        }
        Err(Error::local(
            "the daemon hangs it up, as it lets no more commands go on without a client: end one of those",
        ))
    }

    /// Says goodbye. That there may be nobody any more is no matter.
    pub async fn close(&self) {
        let _ = self.put(Message::close(Some(CloseCode::NORMAL_CLOSURE), "")).await;
    }

    async fn put(&self, message: Message) -> Result<(), Broken> {
        poll_fn(|context| Pin::new(&mut *self.socket()).poll_ready(context)).await?;
        Pin::new(&mut *self.socket()).start_send(message)?;
        poll_fn(|context| Pin::new(&mut *self.socket()).poll_flush(context)).await
    }
}

fn lost(error: &dyn std::error::Error) -> Error {
    Error::Lost { why: innermost(error) }
}
