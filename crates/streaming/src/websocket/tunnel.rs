//! A stream of bytes in binary messages: what is written is a message, what is read are all messages one after the other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tokio_websockets::{Message, WebSocketStream};

use super::channels::io_error;
use crate::buffers::Buffers;
use crate::socket::Connection;

pub(crate) struct Tunnel {
    socket: WebSocketStream<Connection>,
    /// What is left of a message.
    message: Bytes,
    /// A ping's answer is to be sent before anything is read: a client that only asks cannot pile them up.
    answer_due: bool,
    buffers: Arc<Buffers>,
}

impl Tunnel {
    pub fn new(connection: Connection, buffers: Arc<Buffers>) -> Self {
        Tunnel { socket: super::serve(connection), message: Bytes::new(), answer_due: false, buffers }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.message.is_empty() {
            if self.answer_due {
                ready!(Pin::new(&mut self.socket).poll_flush(context)).map_err(io_error)?;
                self.answer_due = false;
            }
            let Some(message) = ready!(Pin::new(&mut self.socket).poll_next(context)) else {
                return Poll::Ready(Ok(()));
            };
            let message = message.map_err(io_error)?;
            if message.is_close() {
                return Poll::Ready(Ok(()));
            }
            self.answer_due = message.is_ping();
            if message.is_text() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a text message in a tunnel")));
            }
            if message.is_binary() {
                self.message = message.into_payload().into();
            }
        }
        let count = self.message.len().min(space.remaining());
        space.put_slice(&self.message[..count]);
        self.message.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
        let mut buffer = self.buffers.take();
        buffer.give_up_headroom();
        let count = buffer.put(bytes);
        let message = Message::binary(Bytes::from_owner(buffer));
        Pin::new(&mut self.socket).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context).map_err(io_error)
    }
}
