//! What carries the streams of one session: SPDY, or channels in WebSocket messages. Both are the same to what is done
//! with the streams.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::{Buffer, Buffers};
use crate::spdy::{self, Headers, ProtocolError};
use crate::websocket::{ChannelError, channels};

/// One half of a connection each.
pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Sync + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// What a client does.
#[derive(Debug)]
pub(crate) enum Event {
    /// It opens a stream, which is to be accepted or refused. Channels are there from the start.
    Opened { stream: u32, headers: Headers },
    /// It sends bytes: [`Reader::data`].
    Data { stream: u32 },
    /// It will send no more on a stream.
    Ended { stream: u32 },
    /// It gives a stream up.
    Reset { stream: u32 },
}

/// Why a client is there no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error("the client has left")]
    Left,
    /// On purpose: what it started is to go on.
    #[error("the client has detached")]
    Detached,
    #[error("the client may not detach, as {0} commands run on without their clients already; its command is hung up")]
    MayNotDetach(usize),
    #[error("the connection to the client broke")]
    Broken(#[source] io::Error),
    #[error("the client broke the protocol")]
    Protocol(#[source] ProtocolError),
    #[error("the client broke the protocol")]
    Channel(#[source] ChannelError),
    #[error("the client did not open the streams of its session within {0} s")]
    NoStreams(u64),
    #[error("the client gave up stream {0} before all were open")]
    GivenUp(u32),
    #[error("the client sent more than {0} bytes before it had opened its streams")]
    Early(usize),
}

/// Reads what the client does.
pub(crate) enum Reader {
    Spdy(spdy::Reader),
    Channels(channels::Reader),
}

impl Reader {
    /// Waits for what the client does next.
    pub async fn next(&mut self) -> Result<Event, Gone> {
        match self {
            Reader::Spdy(reader) => reader.next().await,
            Reader::Channels(reader) => reader.next().await,
        }
    }

    /// The bytes of the last event, if it was [`Event::Data`].
    pub fn data(&self) -> &[u8] {
        match self {
            Reader::Spdy(reader) => reader.data(),
            Reader::Channels(reader) => reader.data(),
        }
    }

    /// Reads on, and drops what comes, until the client closes the connection.
    pub async fn drain(&mut self) {
        match self {
            Reader::Spdy(reader) => reader.drain().await,
            Reader::Channels(reader) => reader.drain().await,
        }
    }
}

/// Sends to the client.
#[derive(Clone)]
pub(crate) enum Writer {
    Spdy(Arc<spdy::Writer>),
    Channels(Arc<channels::Writer>),
}

impl Writer {
    /// Our direction of a stream.
    pub fn outlet(&self, stream: u32) -> Outlet {
        Outlet { writer: self.clone(), stream }
    }

    /// Answers a client that has detached ([`Gone::Detached`]).
    pub async fn let_go(&self) -> Result<(), Gone> {
        match self {
            // Nobody detaches here.
            Writer::Spdy(_) => Ok(()),
            Writer::Channels(writer) => writer.let_go().await,
        }
    }

    /// Says goodbye and sends nothing more.
    pub async fn close(&self) -> Result<(), Gone> {
        match self {
            Writer::Spdy(writer) => writer.close().await,
            Writer::Channels(writer) => writer.close().await,
        }
    }
}

/// Our direction of a stream.
#[derive(Clone)]
pub(crate) struct Outlet {
    writer: Writer,
    stream: u32,
}

impl Outlet {
    pub async fn send(&self, buffer: Buffer) -> Result<(), Gone> {
        match &self.writer {
            Writer::Spdy(writer) => writer.data(self.stream, buffer).await,
            Writer::Channels(writer) => writer.data(self.stream, buffer).await,
        }
    }

    /// Sends a text that fits into a buffer; what does not is cut.
    pub async fn send_text(&self, text: &[u8], buffers: &Arc<Buffers>) -> Result<(), Gone> {
        let mut buffer = buffers.take();
        buffer.put(text);
        self.send(buffer).await
    }

    /// Nothing more will be sent.
    pub async fn end(&self) -> Result<(), Gone> {
        match &self.writer {
            Writer::Spdy(writer) => writer.end(self.stream).await,
            Writer::Channels(writer) => writer.end(self.stream).await,
        }
    }

    /// Gives the stream up in both directions. Channels end with their connection.
    pub async fn reset(&self) -> Result<(), Gone> {
        match &self.writer {
            Writer::Spdy(writer) => writer.reset(self.stream).await,
            Writer::Channels(_) => Ok(()),
        }
    }
}

/// Waits for bytes. While there are none, no buffer is held.
pub(crate) async fn read_some(io: &mut ReadHalf, buffers: &Arc<Buffers>) -> Result<Buffer, Gone> {
    let read = poll_fn(|context| {
        let mut buffer = buffers.take();
        let mut space = ReadBuf::new(buffer.space());
        match Pin::new(&mut *io).poll_read(context, &mut space) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let count = space.filled().len();
                buffer.fill(count);
                Poll::Ready(Ok(buffer))
            }
        }
    });
    let buffer = read.await.map_err(Gone::Broken)?;
    if buffer.bytes().is_empty() { Err(Gone::Left) } else { Ok(buffer) }
}
