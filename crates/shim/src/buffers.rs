//! The two buffers that output and messages pass through. They exist only while there is something to do: an idle shim
//! holds none.

use crate::limits::{LOG_WRITE_BYTES, READ_BYTES};
use crate::wire::RECEIVE_BUFFER_BYTES;

/// What both are for is over before the next use begins.
#[derive(Debug, Default)]
pub struct Buffers {
    input: Vec<u8>,
    lines: Vec<u8>,
}

impl Buffers {
    /// The buffers for reading output and for the lines made of it. The latter is empty.
    pub fn for_output(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        self.lines.clear();
        self.lines.reserve(LOG_WRITE_BYTES);
        (&mut input(&mut self.input)[..READ_BYTES], &mut self.lines)
    }

    /// The buffer for one message.
    pub fn for_message(&mut self) -> &mut [u8] {
        input(&mut self.input)
    }

    pub fn are_held(&self) -> bool {
        self.input.capacity() + self.lines.capacity() > 0
    }

    /// Gives the memory back to the kernel.
    pub fn release(&mut self) {
        *self = Buffers::default();
        cradle_sys::heap::trim();
    }
}

/// A vector of zeros from the allocator's mapped pages: those that are not used take no memory.
fn input(buffer: &mut Vec<u8>) -> &mut [u8] {
    const BYTES: usize = if RECEIVE_BUFFER_BYTES > READ_BYTES { RECEIVE_BUFFER_BYTES } else { READ_BYTES };
    if buffer.is_empty() {
        *buffer = vec![0; BYTES];
    }
    buffer
}
