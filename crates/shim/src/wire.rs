//! Frames as bytes and back, for both ends: the shim's event loop and the daemon's async client.
//!
//! The bytes that arrive come from a peer that may be of another version, or broken: [`decode`] never panics, and tells
//! apart what can be answered by a refusal from what ends the connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::memfd::{self, ReadSealedError};
use cradle_sys::seqpacket::{self, ReceiveError};
use serde::Deserialize;

use crate::protocol::{BODY_MAX_BYTES, Frame, INLINE_MAX_BYTES};

/// Bytes a receive buffer needs.
pub const RECEIVE_BUFFER_BYTES: usize = INLINE_MAX_BYTES;

/// A frame and the descriptors that belong to it.
#[derive(Debug)]
pub struct Message {
    pub frame: Frame,
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    /// A message without descriptors.
    pub fn bare(frame: Frame) -> Self {
        Message { frame, descriptors: Vec::new() }
    }
}

/// A message in the form in which it is sent; kept while the socket is full.
#[derive(Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Why a message could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("a message of {length} bytes is longer than {BODY_MAX_BYTES}")]
    TooLong { length: usize },
    #[error("a message has {count} descriptors beside it, more than {}", seqpacket::DESCRIPTORS_MAX)]
    TooManyDescriptors { count: usize },
    #[error("encoding a message")]
    Encode(#[source] postcard::Error),
    #[error("putting a message of {length} bytes into a memory file")]
    Memfd { length: usize, source: io::Error },
}

/// Why bytes are no message of ours.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A request that this version does not know, or whose body is garbled; it can be refused by its number.
    #[error("request {sequence} is not one that protocol version {} knows", crate::protocol::VERSION)]
    UnknownRequest { sequence: u64 },
    #[error("the message is garbled")]
    Garbled(#[source] postcard::Error),
    #[error("{count} bytes follow the message")]
    TrailingBytes { count: usize },
    #[error("the message is announced with {length} bytes, more than {BODY_MAX_BYTES}")]
    TooLong { length: u64 },
    #[error("the message is announced to be in a memory file, but none came with it")]
    MemfdMissing,
    #[error("taking the message out of its memory file")]
    Memfd(#[source] ReadSealedError),
    #[error("a memory file holds a reference to another memory file")]
    MemfdInMemfd,
}

/// Why no message was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveMessageError {
    #[error("receiving a message")]
    Receive(#[source] ReceiveError),
    /// Its descriptors are lost, so it cannot be served; a request can be refused by its number, and who waits for a reply
    /// can be told.
    #[error("descriptors of a message were lost")]
    DescriptorsLost { request: Option<u64>, reply: Option<u64>, source: ReceiveError },
    #[error("decoding a message")]
    Decode(#[source] DecodeError),
}

impl ReceiveMessageError {
    /// Nothing has arrived on a non-blocking socket.
    pub fn is_would_block(&self) -> bool {
        matches!(self, ReceiveMessageError::Receive(ReceiveError::WouldBlock))
    }

    /// The peer has closed its end.
    pub fn is_closed(&self) -> bool {
        matches!(self, ReceiveMessageError::Receive(ReceiveError::Closed))
    }
}

/// Encodes a message; a body too long for one packet goes into a memory file, which becomes the first descriptor.
pub fn encode(message: Message) -> Result<Encoded, EncodeError> {
    let Message { frame, mut descriptors } = message;
    let count = descriptors.len();
    let mut bytes = postcard::to_allocvec(&frame).map_err(EncodeError::Encode)?;
    let length = bytes.len();
    if length > BODY_MAX_BYTES {
        return Err(EncodeError::TooLong { length });
    }
    if length > INLINE_MAX_BYTES {
        let memfd = memfd::sealed("cradle-message", &bytes).map_err(|source| EncodeError::Memfd { length, source })?;
        descriptors.insert(0, memfd);
        let envelope = Frame::InMemfd { length: length as u64 };
        bytes = postcard::to_allocvec(&envelope).map_err(EncodeError::Encode)?;
    }
    if descriptors.len() > seqpacket::DESCRIPTORS_MAX {
        return Err(EncodeError::TooManyDescriptors { count });
    }
    Ok(Encoded { bytes, descriptors })
}

/// Sends an encoded message, whole or not at all; see [`seqpacket::send`] for the errors.
pub fn send(socket: impl AsFd, encoded: &Encoded) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = encoded.descriptors.iter().map(AsFd::as_fd).collect();
    seqpacket::send(socket, &encoded.bytes, &descriptors)
}

/// Receives one message. `buffer` has [`RECEIVE_BUFFER_BYTES`].
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Message, ReceiveMessageError> {
    let received = match seqpacket::receive(socket, buffer) {
        Err(source @ ReceiveError::DescriptorsLost { length }) => {
            let (request, reply) = sequence(&buffer[..length]);
            return Err(ReceiveMessageError::DescriptorsLost { request, reply, source });
        }
        received => received.map_err(ReceiveMessageError::Receive)?,
    };
    decode(&buffer[..received.length], received.descriptors).map_err(ReceiveMessageError::Decode)
}

/// Decodes one packet.
pub fn decode(bytes: &[u8], mut descriptors: Vec<OwnedFd>) -> Result<Message, DecodeError> {
    let frame = decode_frame(bytes)?;
    let Frame::InMemfd { length } = frame else {
        return Ok(Message { frame, descriptors });
    };
    if length > BODY_MAX_BYTES as u64 {
        return Err(DecodeError::TooLong { length });
    }
    if descriptors.is_empty() {
        return Err(DecodeError::MemfdMissing);
    }
    let body = memfd::read_sealed(descriptors.remove(0), length).map_err(DecodeError::Memfd)?;
    match decode_frame(&body)? {
        Frame::InMemfd { .. } => Err(DecodeError::MemfdInMemfd),
        frame => Ok(Message { frame, descriptors }),
    }
}

fn decode_frame(bytes: &[u8]) -> Result<Frame, DecodeError> {
    match postcard::take_from_bytes::<Frame>(bytes) {
        Ok((frame, [])) => Ok(frame),
        Ok((_, rest)) => Err(DecodeError::TrailingBytes { count: rest.len() }),
        Err(error) => match sequence(bytes) {
            (Some(sequence), _) => Err(DecodeError::UnknownRequest { sequence }),
            (None, _) => Err(DecodeError::Garbled(error)),
        },
    }
}

/// The number of a request, or of the one that is replied to, where the body cannot be read: its head is that of every
/// version.
fn sequence(bytes: &[u8]) -> (Option<u64>, Option<u64>) {
    /// [`Frame`] of which only the head is read.
    #[derive(Deserialize)]
    enum Head {
        Request {
            sequence: u64,
            #[serde(rename = "request_id")]
            _request_id: String,
        },
        Reply {
            sequence: u64,
        },
    }
    match postcard::take_from_bytes::<Head>(bytes) {
        Ok((Head::Request { sequence, .. }, _)) => (Some(sequence), None),
        Ok((Head::Reply { sequence }, _)) => (None, Some(sequence)),
        Err(_) => (None, None),
    }
}

#[cfg(test)]
mod tests;
