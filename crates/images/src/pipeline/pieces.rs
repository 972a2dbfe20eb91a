//! Pieces of a stream between two stages. Its end is a message of its own: a sender that is just gone means that the stage
//! before gave up, and what came so far must not pass for the whole.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc::Receiver;

use crate::limits::PIECE_BYTES;
use crate::tee::read_buffered;

/// What a stage passes on.
pub enum Piece {
    Data(Bytes),
    End,
}

/// Buffers for pieces, which come back once the next stage has dropped its share of them: no piece costs the kernel a
/// mapping and a fault for each of its pages.
pub struct Buffers {
    lent: Vec<Bytes>,
    most: usize,
}

impl Buffers {
    /// For a channel of so many pieces; beside them one is read and one is written.
    pub fn new(channel: usize) -> Self {
        Buffers { lent: Vec::new(), most: channel + 2 }
    }

    pub fn take(&mut self) -> BytesMut {
        if let Some(free) = self.lent.iter().position(Bytes::is_unique)
            && let Ok(buffer) = self.lent.swap_remove(free).try_into_mut()
        {
            return buffer;
        }
        BytesMut::zeroed(PIECE_BYTES)
    }

    pub fn lend(&mut self, buffer: Bytes) -> Bytes {
        if buffer.len() == PIECE_BYTES && self.lent.len() < self.most {
            self.lent.push(buffer.clone());
        }
        buffer
    }
}

/// Pieces as a reader, for a thread that may block.
pub struct Pieces {
    receiver: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Pieces {
    pub fn new(receiver: Receiver<Piece>) -> Self {
        Pieces { receiver, current: Bytes::new(), ended: false }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stage before gave up")),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}
