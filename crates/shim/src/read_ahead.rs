//! What was read of a stream before its turn: the bytes of writes that come later in the order of all writes.

use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::limits::READ_BYTES;

/// Bytes read and not yet passed on. It keeps its memory until it is dropped.
#[derive(Debug, Default)]
pub struct ReadAhead {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
    /// The last read took as much as it could: there may be more.
    full: bool,
}

impl ReadAhead {
    /// Reads once and returns what came; nothing: the stream has ended.
    pub fn fill(&mut self, source: impl AsFd) -> Result<&[u8], Errno> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.reserve(READ_BYTES);
        let (before, room) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        self.full = false;
        rustix::io::retry_on_intr(|| rustix::io::read(&source, spare_capacity(&mut self.bytes)))?;
        let new = &self.bytes[before..];
        self.full = new.len() == room;
        Ok(new)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Whether reading again may bring more.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether there is so little that more may be read.
    pub fn has_room(&self) -> bool {
        self.rest().len() < READ_BYTES
    }

    /// What this many writes have brought, as far as that can be told from the bytes: a line with its end each, or what
    /// there is without one. Less, where there is less.
    pub fn take(&mut self, writes: usize) -> &[u8] {
        let rest = &self.bytes[self.taken..];
        let mut end = 0;
        for _ in 0..writes {
            end = memchr::memchr(b'\n', &rest[end..]).map_or(rest.len(), |at| end + at + 1);
        }
        self.taken += end;
        &rest[..end]
    }

    pub fn take_all(&mut self) -> &[u8] {
        let rest = &self.bytes[self.taken..];
        self.taken = self.bytes.len();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(bytes: &[u8]) -> ReadAhead {
        ReadAhead { bytes: bytes.to_vec(), ..ReadAhead::default() }
    }

    #[test]
    fn a_write_is_a_line_or_what_there_is_without_a_line_end() {
        let mut ahead = ahead(b"one\n\nthree\nfour");
        assert_eq!(ahead.take(1), b"one\n");
        assert_eq!(ahead.take(2), b"\nthree\n");
        assert_eq!(ahead.take(2), b"four");
        assert_eq!(ahead.take(1), b"");
        assert!(ahead.is_empty());
    }

    #[test]
    fn what_is_read_follows_what_is_left() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut ahead = ahead(b"one\ntwo");
        ahead.take(1);
        rustix::io::write(&writer, b" three\nfour").unwrap();
        assert_eq!(ahead.fill(&reader), Ok(&b" three\nfour"[..]));
        assert!(!ahead.is_full());
        assert_eq!(ahead.take(1), b"two three\n");
        assert_eq!(ahead.take_all(), b"four");
        drop(writer);
        assert_eq!(ahead.fill(&reader), Ok(&b""[..]), "the end");
    }

    #[test]
    fn a_read_that_takes_all_it_can_leaves_more_to_be_read() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, &[b'x'; READ_BYTES]).unwrap();
        let mut ahead = ReadAhead::default();
        assert_eq!(ahead.fill(&reader).map(<[u8]>::len), Ok(READ_BYTES));
        assert!(ahead.is_full() && !ahead.has_room());
    }
}
