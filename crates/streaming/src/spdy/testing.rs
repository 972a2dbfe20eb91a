//! The client's side of SPDY, for tests: frames with headers compressed as clients do it.

use flate2::{Compress, Compression, FlushCompress};

use super::dictionary::DICTIONARY;
use super::frame::{self, Decoder, Frame};

/// Compresses the headers of one connection.
pub(crate) struct Client {
    deflater: Compress,
}

impl Client {
    pub fn new() -> Self {
        let mut deflater = Compress::new(Compression::best(), true);
        deflater.set_dictionary(&DICTIONARY).unwrap();
        Client { deflater }
    }

    /// The frame that opens a stream.
    pub fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let block = self.compress(&plain(headers));
        frame::open(stream, false, &block)
    }

    pub fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 1024);
        self.deflater.compress_vec(plain, &mut block, FlushCompress::Sync).unwrap();
        block
    }
}

/// What a server says, as far as tests ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Said(u32, Vec<u8>),
    Ended(u32),
    Reset(u32),
    Goodbye(u32),
    Other,
}

/// Takes what a server sends.
pub(crate) struct Listener(Decoder);

impl Listener {
    pub fn new() -> Self {
        Listener(Decoder::new())
    }

    pub fn hear(&mut self, mut bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(frame) = self.0.decode(&mut bytes).unwrap() {
            match frame {
                Frame::Data { stream, bytes, last } => {
                    heard.push(Heard::Said(stream, bytes.to_vec()));
                    heard.extend(last.then_some(Heard::Ended(stream)));
                }
                Frame::Reset { stream } => heard.push(Heard::Reset(stream)),
                Frame::GoAway { status } => heard.push(Heard::Goodbye(status)),
                _ => heard.push(Heard::Other),
            }
        }
        heard
    }
}

/// A block of headers before it is compressed.
pub(crate) fn plain(headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut plain = number(headers.len()).to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend_from_slice(&number(text.len()));
        plain.extend_from_slice(text.as_bytes());
    }
    plain
}

pub(crate) fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    [&frame::data_head(stream, bytes.len(), last)[..], bytes].concat()
}

pub(crate) fn open(stream: u32, block: &[u8]) -> Vec<u8> {
    frame::open(stream, false, block)
}

pub(crate) fn ping(id: u32) -> Vec<u8> {
    frame::ping(id)
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame::reset(stream, frame::ResetReason::Cancel)
}
