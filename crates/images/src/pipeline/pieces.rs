//! Pieces of a stream between two stages. Its end is a message of its own: a sender that is just gone means that the stage
//! before gave up, and what came so far must not pass for the whole.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Receiver;

use crate::tee::read_buffered;

/// What a stage passes on.
pub enum Piece {
    Data(Bytes),
    End,
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
