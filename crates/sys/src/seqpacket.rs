//! One message over a `SOCK_SEQPACKET` unix socket, with descriptors beside it (unix(7), `SCM_RIGHTS`).
//!
//! Nothing here waits unless the socket is a blocking one: on a non-blocking socket both directions answer
//! `WouldBlock`, so an event loop and an async runtime use the same two functions. What the bytes mean is the caller's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Descriptors that one message may carry. The kernel's own bound is 253 (`SCM_MAX_FD`); no message of ours needs more
/// than four, and a small bound keeps a hostile peer from filling the descriptor table.
pub const DESCRIPTORS_MAX: usize = 8;

/// A message that has arrived.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the buffer that were filled; never 0.
    pub length: usize,
    /// The descriptors beside it, close-on-exec, in the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

/// Why no whole message was received. Descriptors of a message that is given up are closed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// No message is waiting on a non-blocking socket.
    #[error("no message is waiting")]
    WouldBlock,
    /// The peer closed its end, or sent an empty message, which looks the same (recv(2)).
    #[error("the peer closed the connection")]
    Closed,
    /// The message was longer than the buffer; its end is lost.
    #[error("the message is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// Descriptors are lost: the peer sent more than [`DESCRIPTORS_MAX`], or this process may open no more. The message's
    /// `length` bytes are in the buffer, so that it can be refused.
    #[error(
        "descriptors of the message were lost: more than {DESCRIPTORS_MAX} were sent, or this process may open no more"
    )]
    DescriptorsLost { length: usize },
    #[error("receiving a message")]
    Io(#[source] io::Error),
}

/// Receives one message into `buffer`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
    let limit = buffer.len();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(ReceiveError::WouldBlock),
            Err(rustix::io::Errno::CONNRESET) => return Err(ReceiveError::Closed),
            Err(errno) => return Err(ReceiveError::Io(errno.into())),
            Ok(received) => break received,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(ReceiveError::TooLong { limit });
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(ReceiveError::DescriptorsLost { length: received.bytes });
    }
    match received.bytes {
        0 => Err(ReceiveError::Closed),
        length => Ok(Received { length, descriptors }),
    }
}

/// Sends `bytes` as one message with `descriptors` beside it, whole or not at all.
///
/// # Errors
/// `WouldBlock` where the socket's buffer is full, `InvalidInput` for an empty message (it would read as the end of the
/// connection) or more than [`DESCRIPTORS_MAX`] descriptors, `BrokenPipe` where the peer is gone: no signal is raised.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors_in_order() {
        let (a, b) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&a, b"one", &[reader.as_fd(), writer.as_fd()]).unwrap();
        send(&a, b"two", &[]).unwrap();
        let mut buffer = [0; 16];
        let first = receive(&b, &mut buffer).unwrap();
        assert_eq!(&buffer[..first.length], b"one");
        rustix::io::write(&first.descriptors[1], b"x").unwrap();
        assert_eq!(rustix::io::read(&first.descriptors[0], &mut [0; 4]).unwrap(), 1);
        for descriptor in &first.descriptors {
            assert!(rustix::io::fcntl_getfd(descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
        let second = receive(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..second.length], second.descriptors.len()), (&b"two"[..], 0));
    }

    #[test]
    fn an_idle_socket_would_block_and_a_closed_one_is_closed() {
        let (a, b) = pair();
        assert!(matches!(receive(&b, &mut [0; 4]), Err(ReceiveError::WouldBlock)));
        drop(a);
        assert!(matches!(receive(&b, &mut [0; 4]), Err(ReceiveError::Closed)));
        assert_eq!(send(&b, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_socket_would_block() {
        let (a, _b) = pair();
        let full = (0..100_000).find_map(|_| send(&a, &[7; 1024], &[]).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_too_long_or_carries_too_many_descriptors_is_refused_and_leaks_none() {
        let (a, b) = pair();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        send(&a, &[1; 64], &[a.as_fd()]).unwrap();
        assert!(matches!(receive(&b, &mut [0; 8]), Err(ReceiveError::TooLong { limit: 8 })));
        assert!(send(&a, b"x", &[a.as_fd(); DESCRIPTORS_MAX + 1]).is_err());
        assert!(send(&a, b"", &[]).is_err());
        let before = open();
        // More descriptors than `receive` takes, as a hostile peer would send them.
        let many = [a.as_fd(); 20];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
        rustix::net::sendmsg(&a, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(receive(&b, &mut [0; 8]), Err(ReceiveError::DescriptorsLost { length: 1 })));
        assert!(open() <= before + 1, "other tests open a few at most");
    }
}
