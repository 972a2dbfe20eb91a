//! The connection to the daemon: messages out in order, with a bounded queue for a daemon that is slow to read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::limits::OUTBOUND_FRAMES_MAX;
use crate::poll::Interest;
use crate::wire::{self, Encoded};

/// Which request of which connection an answer is for. An answer for a connection that is no more is dropped: the
/// daemon's next one began by asking for everything.
#[derive(Debug, Clone)]
pub struct Waiter {
    pub connection: u32,
    pub sequence: u64,
    pub request_id: String,
}

/// Why the connection cannot be used any longer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the daemon has left {OUTBOUND_FRAMES_MAX} messages unread")]
    QueueFull,
    #[error("sending to the daemon")]
    Send(#[source] io::Error),
}

/// Whether everything has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    Nothing,
    /// Some messages wait until the daemon reads.
    Some,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number; no two have the same.
    pub number: u32,
    socket: OwnedFd,
    outbound: VecDeque<Encoded>,
    /// What the event loop watches it for.
    interest: Interest,
}

impl Connection {
    /// `socket` does not block.
    pub fn new(number: u32, socket: OwnedFd) -> Self {
        Connection { number, socket, outbound: VecDeque::new(), interest: Interest::Readable }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether messages wait until the daemon reads.
    pub fn is_behind(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Notes what it is to be watched for; true: that is something else than before.
    pub fn note_interest(&mut self, interest: Interest) -> bool {
        std::mem::replace(&mut self.interest, interest) != interest
    }

    /// Sends a message now or, if the socket is full, later.
    pub fn send(&mut self, message: Encoded) -> Result<Pending, SendError> {
        if self.outbound.len() >= OUTBOUND_FRAMES_MAX {
            return Err(SendError::QueueFull);
        }
        self.outbound.push_back(message);
        self.flush()
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Result<Pending, SendError> {
        while let Some(message) = self.outbound.front() {
            match wire::send(&self.socket, message) {
                Ok(()) => drop(self.outbound.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pending::Some),
                Err(error) => return Err(SendError::Send(error)),
            }
        }
        self.outbound = VecDeque::new();
        Ok(Pending::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Event, Frame};
    use crate::wire::{Message, RECEIVE_BUFFER_BYTES};
    use cradle_domain::ContainerId;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn event(lost_bytes: u64) -> Encoded {
        let event = Event::LogLost { container: ContainerId::from_random([1; 32]), lost_bytes, error: String::new() };
        wire::encode(Message::bare(Frame::Event(event))).unwrap()
    }

    fn lost_bytes(socket: &OwnedFd) -> u64 {
        match wire::receive(socket, &mut vec![0; RECEIVE_BUFFER_BYTES]).unwrap().frame {
            Frame::Event(Event::LogLost { lost_bytes, .. }) => lost_bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_wait_in_order_for_a_slow_daemon_and_the_queue_has_a_bound() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let mut connection = Connection::new(1, ours);
        let mut sent = 0;
        while connection.send(event(sent)).unwrap() == Pending::Nothing {
            sent += 1;
        }
        sent += 1;
        assert!(connection.is_behind());
        for expected in 0..sent - 1 {
            assert_eq!(lost_bytes(&theirs), expected);
        }
        assert_eq!(connection.flush().unwrap(), Pending::Nothing);
        assert_eq!(lost_bytes(&theirs), sent - 1);

        let error = (0..).find_map(|n| connection.send(event(n)).err()).unwrap();
        assert!(matches!(error, SendError::QueueFull));
        drop(theirs);
        assert!(matches!(connection.flush(), Err(SendError::Send(_))));
    }
}
