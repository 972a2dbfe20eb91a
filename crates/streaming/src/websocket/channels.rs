//! Channels: each message begins with the number of its channel.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_sink::Sink;
use tokio_stream::Stream;
use tokio_websockets::{CloseCode, Error, Message, WebSocketStream};

use crate::activity::Activity;
use crate::buffers::Buffer;
use crate::carrier::{Event, Gone};
use crate::socket::Connection;

/// In the place of a channel's number: the channel whose number follows will send no more.
const CLOSE_SIGNAL: u8 = 255;

/// The status of a goodbye by which a client detaches, of those that are for private use (RFC 6455, section 7.4.2). The
/// normal one, 1000, would not do: some libraries send it whenever they are closed, also when their user was interrupted.
const DETACH: u16 = 4000;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A byte with the channel's number, and bytes. With a close signal, each side can end its direction of a channel.
    Binary { close_signal: bool },
    /// A digit with the channel's number, and bytes in base64.
    Base64,
}

/// A client that breaks the protocol. Its session is ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("its WebSocket messages cannot be read")]
    WebSocket(#[source] Error),
    #[error("a message is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("a signal that closes a channel has {0} bytes")]
    CloseSignal(usize),
}

type Socket = Mutex<WebSocketStream<Connection>>;

/// Reads what the client does.
pub(crate) struct Reader {
    socket: Arc<Socket>,
    framing: Framing,
    activity: Arc<Activity>,
    /// The bytes of the last message.
    data: Bytes,
}

/// Sends messages.
pub(crate) struct Writer {
    socket: Arc<Socket>,
    framing: Framing,
    activity: Arc<Activity>,
}

/// Speaks over a connection whose upgrade is done.
pub(crate) fn open(connection: Connection, framing: Framing, activity: &Arc<Activity>) -> (Reader, Arc<Writer>) {
    let socket = Arc::new(Mutex::new(super::serve(connection)));
    let writer = Writer { socket: socket.clone(), framing, activity: activity.clone() };
    (Reader { socket, framing, activity: activity.clone(), data: Bytes::new() }, Arc::new(writer))
}

/// Held for a call that does not wait.
fn lock(socket: &Socket) -> MutexGuard<'_, WebSocketStream<Connection>> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn flush(socket: &Socket) -> Result<(), Gone> {
    poll_fn(|context| Pin::new(&mut *lock(socket)).poll_flush(context)).await.map_err(gone)
}

fn gone(error: Error) -> Gone {
    match error {
        Error::Io(error) => Gone::Broken(error),
        Error::AlreadyClosed => Gone::Left,
        error => Gone::Channel(ChannelError::WebSocket(error)),
    }
}

impl Reader {
    pub async fn next(&mut self) -> Result<Event, Gone> {
        loop {
            self.data = Bytes::new();
            let message = poll_fn(|context| Pin::new(&mut *lock(&self.socket)).poll_next(context)).await;
            let message = message.ok_or(Gone::Left)?.map_err(gone)?;
            if let Some((status, _)) = message.as_close() {
                return Err(if u16::from(status) == DETACH { Gone::Detached } else { Gone::Left });
            }
            if message.is_ping() {
                // Its answer is on its way before the next is read: a client that only asks cannot pile them up.
                flush(&self.socket).await?;
            }
            if !(message.is_binary() || message.is_text()) {
                continue;
            }
            self.activity.note();
            if let Some(event) = self.event(message.into_payload().into())? {
                return Ok(event);
            }
        }
    }

    fn event(&mut self, mut payload: Bytes) -> Result<Option<Event>, Gone> {
        if payload.is_empty() {
            return Ok(None);
        }
        let channel = payload.split_to(1)[0];
        match self.framing {
            Framing::Binary { close_signal: true } if channel == CLOSE_SIGNAL => match payload[..] {
                [closed] => Ok(Some(Event::Ended { stream: closed.into() })),
                _ => Err(Gone::Channel(ChannelError::CloseSignal(payload.len()))),
            },
            Framing::Binary { .. } => {
                self.data = payload;
                Ok(Some(Event::Data { stream: channel.into() }))
            }
            Framing::Base64 => {
                let decoded = STANDARD.decode(&payload);
                self.data = decoded.map_err(|error| Gone::Channel(ChannelError::Base64(error)))?.into();
                Ok(Some(Event::Data { stream: channel.wrapping_sub(b'0').into() }))
            }
        }
    }

    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub async fn drain(&mut self) {
        while self.next().await.is_ok() {}
    }
}

impl Writer {
    /// Sends the buffer's bytes on a channel.
    pub async fn data(&self, channel: u32, mut buffer: Buffer) -> Result<(), Gone> {
        // There are fewer than ten.
        let channel = u8::try_from(channel).unwrap_or(u8::MAX);
        let message = match self.framing {
            Framing::Binary { .. } => {
                buffer.prepend(&[channel]);
                Message::binary(Bytes::from_owner(buffer))
            }
            Framing::Base64 => {
                let mut text = char::from(b'0'.wrapping_add(channel)).to_string();
                STANDARD.encode_string(buffer.bytes(), &mut text);
                Message::text(text)
            }
        };
        self.send(message).await
    }

    /// Tells that no more will be sent on a channel, where that can be said.
    pub async fn end(&self, channel: u32) -> Result<(), Gone> {
        match self.framing {
            Framing::Binary { close_signal: true } => {
                let signal = vec![CLOSE_SIGNAL, u8::try_from(channel).unwrap_or(u8::MAX)];
                self.send(Message::binary(signal)).await
            }
            Framing::Binary { close_signal: false } | Framing::Base64 => Ok(()),
        }
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        poll_fn(|context| Pin::new(&mut *lock(&self.socket)).poll_ready(context)).await.map_err(gone)?;
        Pin::new(&mut *lock(&self.socket)).start_send(message).map_err(gone)?;
        flush(&self.socket).await?;
        self.activity.note();
        Ok(())
    }

    /// Sends the answer to the client's goodbye, which the library has made.
    pub async fn let_go(&self) -> Result<(), Gone> {
        flush(&self.socket).await
    }

    pub async fn close(&self) -> Result<(), Gone> {
        self.send(Message::close(Some(CloseCode::NORMAL_CLOSURE), "")).await
    }
}

/// What a tunnel's reader and writer say of the same errors.
pub(super) fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
