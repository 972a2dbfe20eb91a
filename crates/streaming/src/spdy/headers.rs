//! The headers of streams: one zlib stream in each direction of a connection, flushed after each block.

use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;
use crate::limits::{HEADERS_MAX, HEADERS_MAX_BYTES};

/// Names, in lower case, and values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    /// The value of a header; none: it is not there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }
}

/// Headers that cannot be read. What follows on the connection cannot be either.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeadersError {
    #[error("compressed headers are damaged")]
    Compression,
    #[error("headers are larger than {HEADERS_MAX_BYTES} bytes")]
    TooLarge,
    #[error("{0} headers are more than {HEADERS_MAX}")]
    TooMany(u32),
    #[error("a block of headers is shorter or longer than what it holds")]
    Length,
    #[error("the name of a header is empty or not in lower case, or there twice")]
    Name,
    #[error("a header is not UTF-8")]
    Text,
}

/// Reads the blocks of one direction.
pub struct Inflater(Decompress);

impl Inflater {
    pub fn new() -> Self {
        Inflater(Decompress::new(true))
    }

    /// Reads the next block.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, HeadersError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, HeadersError> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            let (taken_before, len_before) = (self.0.total_in(), plain.len());
            let inflated = self.0.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - taken_before).unwrap_or(usize::MAX);
            block = block.get(taken..).unwrap_or_default();
            match inflated {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return Err(HeadersError::Compression),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| HeadersError::Compression)?;
                    continue;
                }
                Err(_) => return Err(HeadersError::Compression),
            }
            if plain.len() > HEADERS_MAX_BYTES {
                return Err(HeadersError::TooLarge);
            }
            if plain.len() < plain.capacity() {
                // All of it has come out, unless nothing moves although something is left.
                return if block.is_empty() { Ok(plain) } else { Err(HeadersError::Compression) };
            }
            if taken == 0 && plain.len() == len_before && !block.is_empty() {
                return Err(HeadersError::Compression);
            }
            plain.reserve(plain.capacity().min(HEADERS_MAX_BYTES));
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, HeadersError> {
    let count = number(&mut block)?;
    if usize::try_from(count).map_or(true, |count| count > HEADERS_MAX) {
        return Err(HeadersError::TooMany(count));
    }
    let mut headers = Headers::default();
    for _ in 0..count {
        let (name, value) = (text(&mut block)?, text(&mut block)?);
        if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase()) || headers.get(&name).is_some() {
            return Err(HeadersError::Name);
        }
        headers.0.push((name, value));
    }
    if block.is_empty() { Ok(headers) } else { Err(HeadersError::Length) }
}

fn number(block: &mut &[u8]) -> Result<u32, HeadersError> {
    let (number, rest) = block.split_first_chunk().ok_or(HeadersError::Length)?;
    *block = rest;
    Ok(u32::from_be_bytes(*number))
}

fn text(block: &mut &[u8]) -> Result<String, HeadersError> {
    let length = usize::try_from(number(block)?).map_err(|_| HeadersError::Length)?;
    let (text, rest) = block.split_at_checked(length).ok_or(HeadersError::Length)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeadersError::Text)
}

/// Writes the blocks of one direction. They are stored, not compressed: an answer has no headers worth it, and a
/// compressor's window would cost each session more memory than all the rest.
#[derive(Debug, Default)]
pub struct Deflater {
    begun: bool,
}

impl Deflater {
    /// Appends the next block. `plain` is shorter than 64 KiB.
    pub fn write(&mut self, plain: &[u8], block: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            // The header of a zlib stream with a window of 32 KiB and no dictionary (RFC 1950, section 2.2).
            block.extend_from_slice(&[0x78, 0x01]);
        }
        stored(plain, block);
        // An empty block is what makes readers give out what they have.
        stored(&[], block);
    }
}

/// A stored block that is not the last (RFC 1951, section 3.2.4).
fn stored(plain: &[u8], block: &mut Vec<u8>) {
    let length = u16::try_from(plain.len()).unwrap_or(u16::MAX);
    block.push(0);
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&(!length).to_le_bytes());
    block.extend_from_slice(&plain[..usize::from(length)]);
}
