//! The buffers through which all bytes go: taken when there is something to read, given back when it is written, so that
//! a session in which nothing moves has none.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{BUFFER_BYTES, BUFFERS_KEPT};

/// Room before the bytes for what a protocol puts there.
const HEADROOM_BYTES: usize = 16;

/// Buffers that nobody uses at the moment.
#[derive(Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
}

/// Bytes on their way.
pub(crate) struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    pub fn take(self: &Arc<Self>) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = free.unwrap_or_else(|| vec![0; HEADROOM_BYTES + BUFFER_BYTES].into_boxed_slice());
        Buffer { memory, start: HEADROOM_BYTES, end: HEADROOM_BYTES, home: self.clone() }
    }

    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Buffer {
    /// Where bytes may be put; [`Buffer::fill`] then says how many.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    /// Copies as much of `bytes` as there is space for; says how much that is.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        self.fill(count);
        count
    }

    pub fn fill(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Gives the room for headers up: an empty buffer has that much more space.
    pub fn give_up_headroom(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Puts a header of at most [`HEADROOM_BYTES`] before the bytes.
    pub fn prepend(&mut self, header: &[u8]) {
        let start = self.start - header.len();
        self.memory[start..self.start].copy_from_slice(header);
        self.start = start;
    }

    /// Drops the first bytes and says where they are: until the buffer is used again, [`Buffer::at`] still has them.
    pub fn consume(&mut self, count: usize) -> Range<usize> {
        let from = self.start;
        self.start = (from + count).min(self.end);
        from..self.start
    }

    pub fn at(&self, place: Range<usize>) -> &[u8] {
        &self.memory[place]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < BUFFERS_KEPT {
            free.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_takes_bytes_and_a_header_and_is_used_again() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer.space()[..5].copy_from_slice(b"bytes");
        buffer.fill(5);
        buffer.prepend(b"head:");
        assert_eq!(buffer.bytes(), b"head:bytes");
        let head = buffer.consume(7);
        assert_eq!(buffer.at(head), b"head:by");
        assert_eq!(buffer.bytes(), b"tes");
        drop(buffer);
        assert_eq!(buffers.free.lock().unwrap().len(), 1);
        let again = buffers.take();
        assert!(again.bytes().is_empty());
        assert!(buffers.free.lock().unwrap().is_empty());
    }

    #[test]
    fn only_so_many_are_kept() {
        let buffers = Arc::new(Buffers::default());
        let taken: Vec<_> = (0..BUFFERS_KEPT + 3).map(|_| buffers.take()).collect();
        drop(taken);
        assert_eq!(buffers.free.lock().unwrap().len(), BUFFERS_KEPT);
    }
}
