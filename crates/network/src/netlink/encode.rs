//! Netlink requests in the kernel's binary form (RFC 3549; `linux/netlink.h`).
//!
//! A request is a header of 16 bytes, a fixed structure of its protocol and attributes: length, type and value, padded to
//! four bytes; a value may be attributes again. Lengths of attributes have 16 bits, and one that wraps around makes the
//! kernel read the rest of a value as attributes (that was CVE-2021-43784 in another runtime): here a request that does
//! not fit is never sent.

use std::sync::atomic::{AtomicU32, Ordering};

use super::uapi::{NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

pub(super) const HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 4;

/// Unique in the process: an answer can then never be taken for that of another request on the same socket.
static NEXT_SEQUENCE: AtomicU32 = AtomicU32::new(1);

/// Requests that are sent as one datagram and answered one by one.
#[derive(Debug, Default)]
pub struct Requests {
    pub(super) bytes: Vec<u8>,
    pub(super) asked: Vec<Asked>,
    /// The first request with a value that its length cannot express.
    pub(super) too_long: Option<&'static str>,
}

/// What an answer is matched with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub sequence: u32,
    /// What the request does, as it completes "the kernel refused to …".
    pub what: &'static str,
    /// Whether success is said: by an acknowledgement, or the end of a dump.
    pub answered: bool,
}

impl Requests {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request that the kernel acknowledges. `what` completes "the kernel refused to …".
    pub fn act(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.push(what, kind, flags | NLM_F_ACK, fixed, fill);
    }

    /// Adds a request whose answers are all objects of a kind.
    pub fn dump(&mut self, what: &'static str, kind: u16, fixed: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        self.push(what, kind, NLM_F_DUMP, fixed, fill);
    }

    /// Adds a request that is answered only when it is refused.
    pub fn silent(&mut self, what: &'static str, kind: u16, fixed: &[u8]) {
        self.push(what, kind, 0, fixed, |_| ());
    }

    fn push(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let sequence = NEXT_SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        let mut attributes = Attributes { bytes: &mut self.bytes, too_long: false };
        fill(&mut attributes);
        let too_long = attributes.too_long;
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) if !too_long => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            _ => self.too_long = self.too_long.or(Some(what)),
        }
        self.asked.push(Asked { sequence, what, answered: flags & (NLM_F_ACK | NLM_F_DUMP) != 0 });
    }
}

/// Writes the attributes of one request.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: bool,
}

impl Attributes<'_> {
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.write(kind, |bytes| bytes.extend_from_slice(value));
    }

    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// In the byte order of the machine, as rtnetlink has it.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// In network order, as nfnetlink has it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text, ended by a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.write(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// Attributes as the value of one.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_after(kind | NLA_F_NESTED, &[], fill);
    }

    /// A fixed structure and attributes as the value of one, as veth has its peer.
    pub fn nest_after(&mut self, kind: u16, fixed: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        let mut inner_too_long = false;
        self.write(kind, |bytes| {
            bytes.extend_from_slice(fixed);
            pad(bytes);
            let mut inner = Attributes { bytes, too_long: false };
            fill(&mut inner);
            inner_too_long = inner.too_long;
        });
        self.too_long |= inner_too_long;
    }

    fn write(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        value(self.bytes);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
        pad(self.bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_padded_attributes_and_true_lengths() {
        let mut requests = Requests::new();
        requests.act("test", 0x1234, 0x400, &[9, 9], |attributes| {
            attributes.text(1, "abcd");
            attributes.nest(2, |inner| inner.u8(3, 7));
        });
        let bytes = &requests.bytes;
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[0..4], u32::try_from(bytes.len()).unwrap().to_ne_bytes());
        assert_eq!(bytes[4..6], 0x1234u16.to_ne_bytes());
        assert_eq!(bytes[6..8], (0x400 | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        assert_eq!(bytes[16..20], [9, 9, 0, 0]);
        assert_eq!(bytes[20..32], [[9, 0, 1, 0], *b"abcd", [0, 0, 0, 0]].concat()[..]);
        assert_eq!(bytes[32..44], [[12, 0, 2, 0x80], [5, 0, 3, 0], [7, 0, 0, 0]].concat()[..]);
    }

    #[test]
    fn a_value_longer_than_its_length_can_say_marks_the_request() {
        for nested in [false, true] {
            let mut requests = Requests::new();
            requests.act("write a novel", 1, 0, &[], |attributes| match nested {
                false => attributes.bytes(1, &vec![0; 70_000]),
                true => attributes.nest(1, |inner| inner.nest(2, |inmost| inmost.bytes(3, &vec![0; 65_533]))),
            });
            assert_eq!(requests.too_long, Some("write a novel"));
        }
    }
}
