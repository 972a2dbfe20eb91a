//! Fuzz targets: packets that the daemon, or somebody in its place, may put on a shim's socket.

use std::os::fd::{AsFd, OwnedFd};

use cradle_domain::Class;
use cradle_domain::failure::Chain;
use cradle_sys::memfd;
use cradle_sys::seqpacket::{self, DESCRIPTORS_MAX};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::connection::{Connection, Pending};
use crate::protocol::{ExitRecord, Frame, INLINE_MAX_BYTES, Refusal, Reply};
use crate::wire::{self, DecodeError, Message, RECEIVE_BUFFER_BYTES, ReceiveMessageError};

/// Messages of one input at most.
const PACKETS_MAX: usize = 16;

/// The pair of a packet's memory file: nothing else that a peer can send has a length of its own.
const BODIES_MAX_BYTES: usize = 64 * 1024;

/// One packet, and the record of an exit. What is understood is written and understood again as the same.
pub fn packet(data: &[u8]) {
    if let Some(record) = ExitRecord::decode(data) {
        let written = postcard::to_allocvec(&record).unwrap();
        let again = ExitRecord::decode(&written).unwrap();
        assert_eq!(postcard::to_allocvec(&again).unwrap(), written);
    }
    match wire::decode(data, Vec::new()) {
        Ok(message) => {
            let written = postcard::to_allocvec(&message.frame).unwrap();
            let again = wire::decode(&written, Vec::new()).unwrap();
            assert_eq!(postcard::to_allocvec(&again.frame).unwrap(), written);
        }
        Err(error) => assert!(!Chain(&error).to_string().is_empty()),
    }
}

/// A connection: packets of any length with descriptors and memory files beside them, answered as a shim does.
pub fn connection(data: &[u8]) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let mut peer = Peer { socket: theirs, script: data };
    let mut connection = Connection::new(1, ours);
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    for _ in 0..PACKETS_MAX {
        if !peer.send() || !serve(&mut connection, &mut buffer) {
            break;
        }
        peer.read(&mut buffer);
    }
}

/// Takes all that has arrived; false: the connection is given up.
fn serve(connection: &mut Connection, buffer: &mut [u8]) -> bool {
    loop {
        let (sequence, refusal) = match wire::receive(connection.socket(), buffer) {
            Ok(Message { frame: Frame::Request { sequence, .. }, .. }) => (sequence, None),
            Ok(_) => return false,
            Err(error) if error.is_would_block() => return true,
            Err(ReceiveMessageError::Decode(ref error @ DecodeError::UnknownRequest { sequence })) => {
                (sequence, Some(Refusal::new(Class::Unimplemented, Chain(error).to_string())))
            }
            Err(ref error @ ReceiveMessageError::DescriptorsLost { request: Some(sequence), .. }) => {
                (sequence, Some(Refusal::new(Class::Exhausted, Chain(error).to_string())))
            }
            Err(_) => return false,
        };
        let body = refusal.map_or(Ok(Reply::Done), Err);
        let answer = wire::encode(Message::bare(Frame::Reply { sequence, body })).unwrap();
        // The peer reads after each of its packets.
        assert_eq!(connection.send(answer).unwrap(), Pending::Nothing);
    }
}

/// The other end, which does what the input says.
struct Peer<'a> {
    socket: OwnedFd,
    script: &'a [u8],
}

impl Peer<'_> {
    /// Sends the next packet: a byte for its form, one for its descriptors, two for its length, its bytes. False: there is
    /// none.
    fn send(&mut self) -> bool {
        let Some(([form, descriptors, high, low], rest)) = self.script.split_first_chunk() else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, rest) = rest.split_at(length.min(rest.len()));
        self.script = rest;
        let mut files: Vec<OwnedFd> = (0..usize::from(*descriptors) % (DESCRIPTORS_MAX + 1))
            .map(|_| rustix::io::fcntl_dupfd_cloexec(&self.socket, 0).unwrap())
            .collect();
        let packet = match form % 4 {
            // One packet as it is.
            0 => body.to_vec(),
            // One that is as large as any, or a little larger.
            1 => body
                .iter()
                .cycle()
                .take(if body.is_empty() { 0 } else { INLINE_MAX_BYTES + length % 3 })
                .copied()
                .collect(),
            // A body in a memory file, whose length is told as it is, or as something else.
            kind => {
                files.truncate(DESCRIPTORS_MAX - 1);
                let bytes: Vec<u8> = body.iter().cycle().take(length.min(BODIES_MAX_BYTES)).copied().collect();
                files.insert(0, memfd::sealed("fuzz", &bytes).unwrap());
                let told = if kind == 2 { bytes.len() } else { length << (form >> 2) };
                postcard::to_allocvec(&Frame::InMemfd { length: told as u64 }).unwrap()
            }
        };
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        // What is empty cannot be sent, and what is too large for the socket neither.
        let _ = seqpacket::send(&self.socket, &packet, &files);
        true
    }

    /// Reads the answers: each of them is a reply.
    fn read(&self, buffer: &mut [u8]) {
        while let Ok(message) = wire::receive(&self.socket, buffer) {
            assert!(matches!(message.frame, Frame::Reply { .. }), "{:?}", message.frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    /// The messages of version 1.
    fn messages() -> Vec<Vec<u8>> {
        let lines = include_str!("../tests/v1/messages.txt").lines().filter(|line| !line.starts_with('#'));
        let hex = lines.filter_map(|line| line.split_once(' ')).map(|(_, hex)| hex);
        let byte = |hex: &str, at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        hex.map(|hex| (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect()).collect()
    }

    /// As parts of a script of [`super::Peer`].
    fn part(form: u8, descriptors: u8, body: &[u8]) -> Vec<u8> {
        let [.., high, low] = body.len().to_be_bytes();
        [&[form, descriptors, high, low], body].concat()
    }

    #[test]
    fn packets_do_no_harm() {
        Replay::new("shim_packet").run(messages(), super::packet);
    }

    #[test]
    fn connections_do_no_harm() {
        let each = messages().into_iter().take(12).enumerate();
        let forms = each.map(|(number, message)| part(u8::try_from(number % 8).unwrap(), number as u8, &message));
        let requests = messages().into_iter().take(12).flat_map(|message| part(0, 0, &message)).collect();
        Replay::new("shim_connection").run(forms.chain([requests]), super::connection);
    }
}
