//! SPDY over a connection: one side reads what the client does, the other sends one frame at a time, whoever has one.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::connection::{Connection, Event as Happened, ProtocolError};
use super::frame::{self, ResetReason};
use super::headers::Deflater;
use crate::activity::Activity;
use crate::buffers::{Buffer, Buffers};
use crate::carrier::{self, Event, Gone};

/// Status of a GOAWAY frame.
const GOODBYE: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;

/// Reads what the client does.
pub(crate) struct Reader {
    io: carrier::ReadHalf,
    connection: Connection,
    buffers: Arc<Buffers>,
    /// What was read and is not dealt with; none: nothing.
    buffer: Option<Buffer>,
    /// Where in the buffer the bytes of the last event are.
    data: Range<usize>,
    /// The stream of the last event, if its sender has ended it.
    ended: Option<u32>,
    writer: Arc<Writer>,
}

impl Reader {
    pub fn new(io: carrier::ReadHalf, buffers: Arc<Buffers>, writer: Arc<Writer>) -> Self {
        Reader { io, connection: Connection::new(), buffers, buffer: None, data: 0..0, ended: None, writer }
    }

    /// What the client does next. Pings are answered, and what breaks the protocol is refused, on the way.
    pub async fn next(&mut self) -> Result<Event, Gone> {
        if let Some(stream) = self.ended.take() {
            return Ok(Event::Ended { stream });
        }
        loop {
            match self.decode() {
                Ok(Some(Decoded::Event(event))) => return Ok(event),
                Ok(Some(Decoded::Answer(frame))) => self.writer.send(&frame).await?,
                Ok(None) => {
                    // While there is nothing to read, there is no buffer either.
                    self.buffer = None;
                    self.buffer = Some(carrier::read_some(&mut self.io, &self.buffers).await?);
                    self.writer.activity.note();
                }
                Err(error) => {
                    let goodbye = frame::go_away(self.connection.last_stream(), PROTOCOL_ERROR);
                    // The client may not take it.
                    let _ = self.writer.send(&goodbye).await;
                    return Err(Gone::Protocol(error));
                }
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Decoded>, ProtocolError> {
        let Some(buffer) = &mut self.buffer else { return Ok(None) };
        let mut input = buffer.bytes();
        let before = input.len();
        let happened = self.connection.next(&mut input)?;
        let taken = before - input.len();
        let mut data_length = 0;
        let decoded = happened.map(|happened| match happened {
            Happened::Opened { stream, last, headers } => {
                self.ended = last.then_some(stream);
                Decoded::Event(Event::Opened { stream, headers })
            }
            Happened::Data { stream, bytes, last } => {
                self.ended = last.then_some(stream);
                data_length = bytes.len();
                Decoded::Event(Event::Data { stream })
            }
            Happened::Reset { stream } => Decoded::Event(Event::Reset { stream }),
            Happened::Answer(frame) => Decoded::Answer(frame),
        });
        // Data ends where the decoder has stopped.
        let consumed = buffer.consume(taken);
        self.data = consumed.end - data_length..consumed.end;
        Ok(decoded)
    }

    /// The bytes of the last event, if it was [`Event::Data`].
    pub fn data(&self) -> &[u8] {
        self.buffer.as_ref().map(|buffer| buffer.at(self.data.clone())).unwrap_or_default()
    }

    /// Accepts a stream.
    pub async fn accept(&mut self, stream: u32) -> Result<(), Gone> {
        self.writer.reply(stream).await
    }

    /// Refuses a stream.
    pub async fn refuse(&mut self, stream: u32) -> Result<(), Gone> {
        let answer = self.connection.refuse(stream).map_err(Gone::Protocol)?;
        self.writer.send(&answer).await
    }

    /// Drops whatever the client still sends on a stream.
    pub fn forget(&mut self, stream: u32) {
        self.connection.forget(stream);
    }

    /// From now on new streams are refused.
    pub fn refuse_streams(&mut self) {
        self.connection.refuse_streams();
    }

    /// Reads on, and drops what comes, until the client closes the connection.
    pub async fn drain(&mut self) {
        self.buffer = None;
        while carrier::read_some(&mut self.io, &self.buffers).await.is_ok() {}
    }
}

enum Decoded {
    Event(Event),
    Answer(Vec<u8>),
}

/// Sends frames, one at a time.
pub(crate) struct Writer {
    state: Mutex<Sending>,
    activity: Arc<Activity>,
}

struct Sending {
    io: carrier::WriteHalf,
    /// The rest of a frame whose sender gave up amid it.
    rest: Vec<u8>,
    deflater: Deflater,
}

impl Writer {
    pub fn new(io: carrier::WriteHalf, activity: Arc<Activity>) -> Self {
        let sending = Sending { io, rest: Vec::new(), deflater: Deflater::default() };
        Writer { state: Mutex::new(sending), activity }
    }

    /// Sends the buffer's bytes on a stream.
    pub async fn data(&self, stream: u32, mut buffer: Buffer) -> Result<(), Gone> {
        let head = frame::data_head(stream, buffer.bytes().len(), false);
        buffer.prepend(&head);
        self.send(buffer.bytes()).await
    }

    /// Tells that no more will be sent on a stream.
    pub async fn end(&self, stream: u32) -> Result<(), Gone> {
        self.send(&frame::data_head(stream, 0, true)).await
    }

    /// Gives a stream up.
    pub async fn reset(&self, stream: u32) -> Result<(), Gone> {
        self.send(&frame::reset(stream, ResetReason::Cancel)).await
    }

    async fn reply(&self, stream: u32) -> Result<(), Gone> {
        let mut sending = self.state.lock().await;
        let frame = frame::reply(stream, &mut sending.deflater);
        sending.send(&frame).await.map_err(Gone::Broken)
    }

    async fn send(&self, frame: &[u8]) -> Result<(), Gone> {
        self.state.lock().await.send(frame).await.map_err(Gone::Broken)?;
        self.activity.note();
        Ok(())
    }

    /// Says goodbye and sends nothing more.
    pub async fn close(&self) -> Result<(), Gone> {
        let mut sending = self.state.lock().await;
        sending.send(&frame::go_away(0, GOODBYE)).await.map_err(Gone::Broken)?;
        sending.io.shutdown().await.map_err(Gone::Broken)
    }
}

impl Sending {
    /// Sends a frame. When this is dropped amid it, the rest is kept and goes before the next one.
    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        while !self.rest.is_empty() {
            let count = some(self.io.write(&self.rest).await?)?;
            self.rest.drain(..count);
        }
        let mut unsent = Unsent { frame, rest: &mut self.rest };
        while !unsent.frame.is_empty() {
            let count = some(self.io.write(unsent.frame).await?)?;
            unsent.frame = &unsent.frame[count..];
        }
        drop(unsent);
        self.io.flush().await
    }
}

/// A write that takes nothing would be tried for ever.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

struct Unsent<'a> {
    frame: &'a [u8],
    rest: &'a mut Vec<u8>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.rest.extend_from_slice(self.frame);
    }
}
