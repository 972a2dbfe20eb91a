//! The form of a record: a header line with kind, version and checksum, then JSON.
//!
//! Versions are read for ever: when a record's type changes incompatibly, the old type stays here with a conversion, and
//! its samples in `tests/` stay readable.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that is written.
const VERSION: u32 = 1;

/// Larger records are refused unread.
pub const RECORD_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("it is no {kind} record: its first line is {found:?}")]
    Header { kind: &'static str, found: String },
    #[error("it has version {found}, and this daemon reads versions up to {VERSION}")]
    Version { found: u32 },
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its content cannot be understood")]
    Content(#[source] serde_json::Error),
}

/// Writes a record.
pub fn encode<T: Serialize>(kind: &'static str, record: &T) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(record)?;
    let mut bytes = format!("cradle {kind} {VERSION} {:016x}\n", checksum(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// Reads a record.
pub fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, FormError> {
    let end = bytes.iter().take(200).position(|byte| *byte == b'\n');
    let header = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len().min(80))]).into_owned();
    let bad = || FormError::Header { kind, found: header.clone() };
    let mut words = header.split(' ');
    if words.next() != Some("cradle") || words.next() != Some(kind) {
        return Err(bad());
    }
    let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    if version == 0 || version > VERSION {
        return Err(FormError::Version { found: version });
    }
    let expected = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()).ok_or_else(bad)?;
    let json = &bytes[end.ok_or_else(bad)? + 1..];
    if checksum(json) != expected {
        return Err(FormError::Checksum);
    }
    serde_json::from_slice(json).map_err(FormError::Content)
}

/// FNV-1a with 64 bits: against torn writes and stray edits, not against an enemy.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let bytes = encode("pod", &vec![1, 2, 3]).unwrap();
        assert_eq!(decode::<Vec<i32>>("pod", &bytes).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let bytes = encode("pod", &"some content").unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<String>("pod", &bytes[..length]).is_err(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            let read = decode::<String>("pod", &flipped);
            // A letter's case in the checksum's digits is the one change that changes nothing.
            assert!(read.is_err() || bytes[at].is_ascii_hexdigit(), "byte {at}: {read:?}");
        }
    }

    #[test]
    fn a_record_of_another_kind_or_of_a_later_version_is_refused() {
        let bytes = encode("pod", &1).unwrap();
        assert!(matches!(decode::<i32>("container", &bytes), Err(FormError::Header { .. })));
        let later = String::from_utf8(bytes).unwrap().replace("cradle pod 1", "cradle pod 9");
        assert!(matches!(decode::<i32>("pod", later.as_bytes()), Err(FormError::Version { found: 9 })));
    }
}
