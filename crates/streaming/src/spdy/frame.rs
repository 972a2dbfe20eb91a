//! Frames from bytes, whatever pieces these come in, and bytes of the frames that we send.

use super::headers::{Deflater, Headers, HeadersError, Inflater};
use crate::limits::CONTROL_FRAME_MAX_BYTES;

const VERSION: u16 = 3;
const HEAD_BYTES: usize = 8;
/// The sender will send no more on the stream.
const FLAG_FIN: u8 = 1;
/// Only the opener sends on the stream.
const FLAG_UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset (SPDY draft 3.1, section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    Protocol = 1,
    InvalidStream = 2,
    Refused = 3,
    Cancel = 5,
}

/// A frame, or a piece of a data frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `last`: the sender will send no more on the stream.
    Open {
        stream: u32,
        last: bool,
        one_way: bool,
        headers: Headers,
    },
    /// A stream whose headers were not read, since no more streams are wanted.
    Unwanted {
        stream: u32,
    },
    Reply {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        status: u32,
    },
    /// `last` stands at the last piece of the last frame of the stream.
    Data {
        stream: u32,
        bytes: &'a [u8],
        last: bool,
    },
    /// One that is let pass.
    Other,
}

/// Bytes that are no SPDY, or too much of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame of SPDY version {0}")]
    Version(u16),
    #[error("a control frame of {0} bytes, more than {CONTROL_FRAME_MAX_BYTES}")]
    TooLong(usize),
    #[error("a frame of type {kind} with {length} bytes")]
    Length { kind: u16, length: usize },
    #[error("a frame for stream 0")]
    StreamZero,
    #[error("headers cannot be read")]
    Headers(#[source] HeadersError),
}

/// Takes bytes and gives frames. It holds no more than one control frame.
pub struct Decoder {
    head: [u8; HEAD_BYTES],
    head_length: usize,
    state: State,
    control: Vec<u8>,
    /// None: headers are not read any more.
    inflater: Option<Box<Inflater>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Control {
        kind: u16,
        flags: u8,
        length: usize,
    },
    /// A control frame of a type that we do not know.
    Skip {
        left: usize,
    },
    Data {
        stream: u32,
        last: bool,
        left: usize,
    },
}

impl Decoder {
    pub fn new() -> Self {
        let inflater = Some(Box::new(Inflater::new()));
        Decoder { head: [0; HEAD_BYTES], head_length: 0, state: State::Head, control: Vec::new(), inflater }
    }

    /// No more streams are wanted. Their headers would be the only ones to read, so the memory for that is given back.
    pub fn stop_reading_headers(&mut self) {
        self.inflater = None;
    }

    /// Takes bytes from `input` until a frame is complete, or a piece of data is there; none: it needs more.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            match self.state {
                State::Head => {
                    if !self.take_head(input)? {
                        return Ok(None);
                    }
                }
                State::Control { kind, flags, length } => {
                    let missing = length - self.control.len();
                    self.control.extend_from_slice(take(input, missing));
                    if self.control.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let payload = std::mem::take(&mut self.control);
                    return self.control_frame(kind, flags, &payload).map(Some);
                }
                State::Skip { left } => {
                    let left = left - take(input, left).len();
                    if left > 0 {
                        self.state = State::Skip { left };
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Data { stream, last, left } => {
                    if left > 0 && input.is_empty() {
                        return Ok(None);
                    }
                    let bytes = take(input, left);
                    let left = left - bytes.len();
                    self.state = if left > 0 { State::Data { stream, last, left } } else { State::Head };
                    return Ok(Some(Frame::Data { stream, bytes, last: last && left == 0 }));
                }
            }
        }
    }

    /// Takes the fixed part of a frame; true: it is complete.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, FrameError> {
        let bytes = take(input, HEAD_BYTES - self.head_length);
        self.head[self.head_length..][..bytes.len()].copy_from_slice(bytes);
        self.head_length += bytes.len();
        if self.head_length < HEAD_BYTES {
            return Ok(false);
        }
        self.head_length = 0;
        let [a, b, c, d, flags, rest @ ..] = self.head;
        let length = rest.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        if a & 0x80 == 0 {
            let (stream, last) = (u32::from_be_bytes([a, b, c, d]), flags & FLAG_FIN != 0);
            if stream == 0 {
                return Err(FrameError::StreamZero);
            }
            self.state = State::Data { stream, last, left: length };
            return Ok(true);
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = u16::from_be_bytes([c, d]);
        let known = matches!(kind, SYN_STREAM..=SETTINGS | PING..=WINDOW_UPDATE);
        if known && length > CONTROL_FRAME_MAX_BYTES {
            return Err(FrameError::TooLong(length));
        }
        self.state = if known { State::Control { kind, flags, length } } else { State::Skip { left: length } };
        Ok(true)
    }

    fn control_frame(&mut self, kind: u16, flags: u8, payload: &[u8]) -> Result<Frame<'static>, FrameError> {
        let wrong = FrameError::Length { kind, length: payload.len() };
        let number = |at: usize| {
            let bytes = payload.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let stream = number(0) & 0x7fff_ffff;
        let (least, most) = match kind {
            SYN_STREAM => (10, usize::MAX),
            SYN_REPLY | HEADERS | SETTINGS => (4, usize::MAX),
            PING => (4, 4),
            _ => (8, 8),
        };
        if payload.len() < least || payload.len() > most {
            return Err(wrong);
        }
        if stream == 0 && matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS) {
            return Err(FrameError::StreamZero);
        }
        match kind {
            SYN_STREAM => {
                let (last, one_way) = (flags & FLAG_FIN != 0, flags & FLAG_UNIDIRECTIONAL != 0);
                let headers = self.headers(&payload[10..])?;
                Ok(headers.map_or(Frame::Unwanted { stream }, |headers| Frame::Open { stream, last, one_way, headers }))
            }
            // Read although nobody wants them: the compression goes over all headers.
            SYN_REPLY => self.headers(&payload[4..]).map(|_| Frame::Reply { stream }),
            HEADERS => self.headers(&payload[4..]).map(|_| Frame::Other),
            RST_STREAM => Ok(Frame::Reset { stream }),
            PING => Ok(Frame::Ping { id: number(0) }),
            GOAWAY => Ok(Frame::GoAway { status: number(4) }),
            SETTINGS if u64::from(number(0)) * 8 + 4 != payload.len() as u64 => Err(wrong),
            _ => Ok(Frame::Other),
        }
    }

    fn headers(&mut self, block: &[u8]) -> Result<Option<Headers>, FrameError> {
        let inflater = self.inflater.as_mut();
        inflater.map(|inflater| inflater.read(block)).transpose().map_err(FrameError::Headers)
    }
}

/// The first bytes of `input`, as many as there are but no more than `count`.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}

/// What stands before the bytes of a data frame.
pub fn data_head(stream: u32, length: usize, last: bool) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = stream.to_be_bytes();
    let [.., x, y, z] = length.to_be_bytes();
    [a & 0x7f, b, c, d, if last { FLAG_FIN } else { 0 }, x, y, z]
}

/// The answer that accepts a stream.
pub fn reply(stream: u32, deflater: &mut Deflater) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    deflater.write(&0_u32.to_be_bytes(), &mut payload);
    control(SYN_REPLY, 0, &payload)
}

pub fn reset(stream: u32, reason: ResetReason) -> Vec<u8> {
    control(RST_STREAM, 0, &[stream.to_be_bytes(), (reason as u32).to_be_bytes()].concat())
}

pub fn ping(id: u32) -> Vec<u8> {
    control(PING, 0, &id.to_be_bytes())
}

/// The last frame of a connection: 0 is success, 1 a client that broke the protocol (SPDY draft 3.1, section 2.6.6).
pub fn go_away(last_stream: u32, status: u32) -> Vec<u8> {
    control(GOAWAY, 0, &[last_stream.to_be_bytes(), status.to_be_bytes()].concat())
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
    frame.extend_from_slice(&(VERSION | 0x8000).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.push(flags);
    let [.., x, y, z] = payload.len().to_be_bytes();
    frame.extend_from_slice(&[x, y, z]);
    frame.extend_from_slice(payload);
    frame
}

/// The frame by which a client opens a stream.
#[cfg(test)]
pub fn open(stream: u32, last: bool, block: &[u8]) -> Vec<u8> {
    let payload = [&stream.to_be_bytes()[..], &[0; 6], block].concat();
    control(SYN_STREAM, if last { FLAG_FIN } else { 0 }, &payload)
}
