//! Reads the kernel's answers. What is malformed or cut off ends the iteration: an answer of a newer kernel may hold
//! more than we know, so only what is asked for is looked at.

use super::encode::HEADER_BYTES;
use super::uapi::NLA_TYPE_MASK;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of a datagram.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let message = datagram.get(..length)?;
        let payload = message.get(HEADER_BYTES..)?;
        let kind = u16_at(message, 4)?;
        let flags = u16_at(message, 6)?;
        let sequence = u32_at(message, 8)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, payload })
    })
}

/// The attributes in `bytes`, as type and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A number in the byte order of the machine.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A text up to its zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::encode::Requests;
    use super::*;

    #[test]
    fn what_was_encoded_is_read_again() {
        let mut requests = Requests::new();
        requests.act("one", 7, 0, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "eth0");
            attributes.nest(2, |inner| inner.u32(5, 99));
        });
        requests.act("two", 8, 0, &[], |_| ());
        let read: Vec<Message<'_>> = messages(&requests.bytes).collect();
        assert_eq!(read.iter().map(|message| message.kind).collect::<Vec<_>>(), [7, 8]);
        let body = &read[0].payload[4..];
        assert_eq!(find(body, 1).map(text).as_deref(), Some("eth0"));
        assert_eq!(find(body, 2).and_then(|nest| find(nest, 5)).and_then(|value| u32_at(value, 0)), Some(99));
        assert_eq!(find(body, 3), None);
    }

    #[test]
    fn garbage_ends_the_iteration() {
        for garbage in [&[][..], &[1], &[0; 4], &[3, 0, 1, 0], &[255, 255, 1, 0, 1], &[0; 64], &[255; 64]] {
            assert!(messages(garbage).count() <= 4, "{garbage:?}");
            assert!(attributes(garbage).count() <= 1, "{garbage:?}");
        }
    }
}
