//! The order of frames on a connection whose streams are all opened by the client.

use std::collections::HashSet;

use super::frame::{self, Decoder, Frame, FrameError, ResetReason};
use super::headers::Headers;
use crate::limits::REFUSALS_MAX;

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It opens a stream; `last`: on which it will send nothing.
    Opened {
        stream: u32,
        last: bool,
        headers: Headers,
    },
    Data {
        stream: u32,
        bytes: &'a [u8],
        last: bool,
    },
    /// It gives a stream up in both directions.
    Reset {
        stream: u32,
    },
    /// This frame is to be sent.
    Answer(Vec<u8>),
}

/// A client that breaks the protocol. Its session is ended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtocolError {
    #[error("what the client sent cannot be read")]
    Frame(#[source] FrameError),
    #[error("the client opened stream {stream} after stream {last}")]
    StreamOrder { stream: u32, last: u32 },
    #[error("the client answered stream {0}, which was not opened by us")]
    Reply(u32),
    #[error("the client used {REFUSALS_MAX} streams that it could not have")]
    Refusals,
}

/// What the client has opened.
pub struct Connection {
    decoder: Decoder,
    /// Streams on which the client may still send.
    receiving: HashSet<u32>,
    last_stream: u32,
    /// The last stream that was used without being opened: told once, whatever pieces the rest comes in.
    unknown: u32,
    refusals: u32,
}

impl Connection {
    pub fn new() -> Self {
        Connection { decoder: Decoder::new(), receiving: HashSet::new(), last_stream: 0, unknown: 0, refusals: 0 }
    }

    /// The last stream that the client opened.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// From now on every new stream is refused.
    pub fn refuse_streams(&mut self) {
        self.decoder.stop_reading_headers();
    }

    /// Refuses a stream that was opened: the answer to it.
    pub fn refuse(&mut self, stream: u32) -> Result<Vec<u8>, ProtocolError> {
        self.refuse_for(stream, ResetReason::Refused)
    }

    /// Gives a stream up: what the client may have sent meanwhile is dropped.
    pub fn forget(&mut self, stream: u32) {
        self.receiving.remove(&stream);
    }

    fn refuse_for(&mut self, stream: u32, reason: ResetReason) -> Result<Vec<u8>, ProtocolError> {
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX {
            return Err(ProtocolError::Refusals);
        }
        self.receiving.remove(&stream);
        Ok(frame::reset(stream, reason))
    }

    /// What the client does next; none: more of what it sends is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        while let Some(frame) = self.decoder.decode(input).map_err(ProtocolError::Frame)? {
            if let Some(event) = self.event(frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn event<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, ProtocolError> {
        Ok(match frame {
            Frame::Open { stream, last, one_way, headers } => {
                self.note_opened(stream)?;
                if one_way {
                    return self.refuse_for(stream, ResetReason::Protocol).map(|answer| Some(Event::Answer(answer)));
                }
                if !last {
                    self.receiving.insert(stream);
                }
                Some(Event::Opened { stream, last, headers })
            }
            Frame::Unwanted { stream } => {
                self.note_opened(stream)?;
                Some(Event::Answer(self.refuse(stream)?))
            }
            Frame::Reply { stream } => return Err(ProtocolError::Reply(stream)),
            Frame::Reset { stream } => {
                self.receiving.remove(&stream);
                (stream <= self.last_stream).then_some(Event::Reset { stream })
            }
            // Even numbers are ours, and we ask for none.
            Frame::Ping { id } => (id % 2 == 1).then(|| Event::Answer(frame::ping(id))),
            Frame::Data { stream, bytes, last } => return self.data(stream, bytes, last),
            // The client will open no more streams; those that are open go on.
            Frame::GoAway { .. } | Frame::Other => None,
        })
    }

    /// A client's streams have odd numbers, each larger than the one before.
    fn note_opened(&mut self, stream: u32) -> Result<(), ProtocolError> {
        if stream.is_multiple_of(2) || stream <= self.last_stream {
            return Err(ProtocolError::StreamOrder { stream, last: self.last_stream });
        }
        self.last_stream = stream;
        Ok(())
    }

    fn data<'a>(&mut self, stream: u32, bytes: &'a [u8], last: bool) -> Result<Option<Event<'a>>, ProtocolError> {
        if !self.receiving.contains(&stream) {
            // On a stream that is closed it was under way when it was closed.
            let was_open = stream % 2 == 1 && stream <= self.last_stream;
            if was_open || std::mem::replace(&mut self.unknown, stream) == stream {
                return Ok(None);
            }
            let answer = self.refuse_for(stream, ResetReason::InvalidStream)?;
            return Ok(Some(Event::Answer(answer)));
        }
        if last {
            self.receiving.remove(&stream);
        }
        Ok(Some(Event::Data { stream, bytes, last }))
    }
}
