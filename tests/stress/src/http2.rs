//! HTTP/2 by hand (RFC 9113), for clients that break it: frames are written as they are asked for.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WITHIN: Duration = Duration::from_secs(30);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_HEADERS: u8 = 4;

/// A connection that does what it is told.
pub struct Raw {
    stream: UnixStream,
    unread: Vec<u8>,
}

/// A frame of the daemon.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Raw {
    /// Connects and says nothing. A full backlog is waited for.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => return Ok(Raw { stream, unread: Vec::new() }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => return Err(error).context("connecting to the daemon"),
            }
        }
    }

    /// Connects and begins HTTP/2, with as large windows as there can be.
    pub async fn begin(socket: &Path) -> Result<Self> {
        let mut raw = Self::connect(socket).await?;
        let settings = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        raw.send(&begin).await?;
        Ok(raw)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(WITHIN, self.stream.write_all(bytes)).await?
    }

    /// Sends as much of it, again and again, as the daemon takes before it closes the connection; at most `most` bytes.
    pub async fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most && self.send(bytes).await.is_ok() {
            sent += bytes.len();
        }
        sent
    }

    /// The next frame; none: the daemon has closed the connection.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        tokio::time::timeout(WITHIN, self.read()).await.context("the daemon is silent")?
    }

    async fn read(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(([a, b, c, kind, _, rest @ ..], _)) = self.unread.split_first_chunk::<9>() {
                let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c]))?;
                let (kind, stream) = (*kind, u32::from_be_bytes(*rest));
                if let Some(payload) = self.unread.get(9..9 + length) {
                    let frame = Frame { kind, stream, payload: payload.to_vec() };
                    self.unread.drain(..9 + length);
                    return Ok(Some(frame));
                }
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // Closed while something of ours was unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error).context("reading what the daemon says"),
            }
        }
    }

    /// Reads until the daemon closes the connection; the code of its GOAWAY, if it sent one.
    pub async fn read_to_the_end(&mut self) -> Result<Option<u32>> {
        let mut said = None;
        while let Some(frame) = self.next().await? {
            if frame.kind == GOAWAY {
                let code = frame.payload.get(4..).and_then(|rest| rest.first_chunk());
                said = Some(u32::from_be_bytes(*code.context("a short GOAWAY")?));
            }
        }
        Ok(said)
    }

    /// The frames of a stream until its end.
    pub async fn answer(&mut self, stream: u32) -> Result<Vec<Frame>> {
        let mut answer = Vec::new();
        loop {
            let frame = self.next().await?.context("the daemon has closed the connection")?;
            ensure!(frame.kind != GOAWAY, "the daemon says goodbye: {frame:?}");
            if frame.stream == stream {
                let is_end = frame.kind == HEADERS || frame.kind == RST_STREAM;
                answer.push(frame);
                if is_end {
                    return Ok(answer);
                }
            }
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a request of gRPC, without compression (RFC 7541, 6.2.2).
pub fn headers(path: &str) -> Vec<u8> {
    let all = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    all.iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// One header; name and value are shorter than 127 bytes.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len().to_le_bytes()[0]], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A message of gRPC whose head says that it has `length` bytes.
pub fn message(length: usize, bytes: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = length.to_be_bytes();
    [&[0, a, b, c, d], bytes].concat()
}
