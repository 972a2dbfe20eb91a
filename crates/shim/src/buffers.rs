//! The buffers that lines and messages pass through. They exist only while there is something to do: an idle shim
//! holds none.

use std::os::fd::RawFd;

use crate::limits::LOG_WRITE_BYTES;
use crate::wire::RECEIVE_BUFFER_BYTES;

/// What each is for is over before its next use begins.
#[derive(Debug, Default)]
pub struct Buffers {
    message: Vec<u8>,
    lines: Vec<u8>,
    /// The pipes that were written to, in the order of the writes.
    pub writes: Vec<RawFd>,
}

impl Buffers {
    /// The buffer for the lines that are made of output. It is empty.
    pub fn for_lines(&mut self) -> &mut Vec<u8> {
        self.lines.clear();
        self.lines.reserve(LOG_WRITE_BYTES);
        &mut self.lines
    }

    /// The buffer for one message.
    pub fn for_message(&mut self) -> &mut [u8] {
        // Of the allocator's mapped pages those that are not used take no memory.
        if self.message.is_empty() {
            self.message = vec![0; RECEIVE_BUFFER_BYTES];
        }
        &mut self.message
    }

    pub fn are_held(&self) -> bool {
        self.message.capacity() + self.lines.capacity() + self.writes.capacity() > 0
    }

    /// Gives the memory back to the kernel.
    pub fn release(&mut self) {
        *self = Buffers::default();
        cradle_sys::heap::trim();
    }
}
