//! Which stream is what: told by a header where streams are opened (SPDY), by their number where they are channels.

use crate::carrier::{Event, Gone, Outlet, Reader, Writer};
use crate::limits::EARLY_INPUT_MAX_BYTES;
use crate::negotiation::Protocol;
use crate::request::Wanted;
use crate::spdy;

/// The header that says what a stream is.
const STREAM_TYPE: &str = "streamtype";

/// The numbers of channels.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const ERROR: u32 = 3;
const RESIZE: u32 = 4;

/// The streams of a session. What is not wanted is not there.
pub(super) struct Streams {
    /// The status goes here.
    pub error: Outlet,
    pub stdout: Option<Outlet>,
    pub stderr: Option<Outlet>,
    pub stdin: Option<u32>,
    pub resize: Option<u32>,
    /// What is to be ended, one by one. Channels end with their connection: clients know nothing else of ours.
    pub ends: Vec<Outlet>,
}

/// What came before all streams were open; no bytes: the stream's end.
pub(super) struct Early {
    pub stream: u32,
    pub bytes: Option<Vec<u8>>,
}

impl Streams {
    /// Waits until the client has opened what it must.
    pub async fn open(
        reader: &mut Reader,
        writer: &Writer,
        protocol: &Protocol,
        wanted: Wanted,
    ) -> Result<(Streams, Vec<Early>), Gone> {
        let resize = wanted.terminal && protocol.resize;
        match reader {
            Reader::Spdy(reader) => Opening::new(wanted, resize).finish(reader, writer).await,
            Reader::Channels(_) => Ok((channels(writer, wanted, resize).await?, Vec::new())),
        }
    }
}

/// Channels are there without being opened.
async fn channels(writer: &Writer, wanted: Wanted, resize: bool) -> Result<Streams, Gone> {
    let outlet = |wanted: bool, channel| wanted.then(|| writer.outlet(channel));
    let streams = Streams {
        error: writer.outlet(ERROR),
        stdout: outlet(wanted.stdout, STDOUT),
        stderr: outlet(wanted.stderr, STDERR),
        stdin: wanted.stdin.then_some(STDIN),
        resize: resize.then_some(RESIZE),
        ends: Vec::new(),
    };
    // An empty message tells the client that the session has begun.
    let first = streams.stdout.as_ref().or(streams.stderr.as_ref()).unwrap_or(&streams.error);
    first.send_text(&[], &Default::default()).await?;
    Ok(streams)
}

/// Streams that the client must open, and those that it has.
struct Opening {
    /// Names, and what was opened by that name.
    streams: Vec<(&'static str, Option<u32>)>,
    early: Vec<Early>,
    early_bytes: usize,
}

impl Opening {
    fn new(wanted: Wanted, resize: bool) -> Self {
        let kinds = [
            ("error", true),
            ("stdin", wanted.stdin),
            ("stdout", wanted.stdout),
            ("stderr", wanted.stderr),
            ("resize", resize),
        ];
        let streams = kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| (kind, None)).collect();
        Opening { streams, early: Vec::new(), early_bytes: 0 }
    }

    async fn finish(mut self, reader: &mut spdy::Reader, writer: &Writer) -> Result<(Streams, Vec<Early>), Gone> {
        while self.streams.iter().any(|(_, stream)| stream.is_none()) {
            match reader.next().await? {
                Event::Opened { stream, headers } => {
                    let kind = headers.get(STREAM_TYPE);
                    let free = self.streams.iter_mut().find(|(name, opened)| Some(*name) == kind && opened.is_none());
                    match free {
                        Some((_, opened)) => {
                            *opened = Some(stream);
                            reader.accept(stream).await?;
                        }
                        None => reader.refuse(stream).await?,
                    }
                }
                Event::Data { stream } => {
                    let bytes = reader.data().to_vec();
                    self.early_bytes += bytes.len();
                    if self.early_bytes > EARLY_INPUT_MAX_BYTES {
                        return Err(Gone::Early(EARLY_INPUT_MAX_BYTES));
                    }
                    self.early.push(Early { stream, bytes: Some(bytes) });
                }
                Event::Ended { stream } => self.early.push(Early { stream, bytes: None }),
                Event::Reset { stream } => {
                    if self.streams.iter().any(|(_, opened)| *opened == Some(stream)) {
                        return Err(Gone::GivenUp(stream));
                    }
                }
            }
        }
        reader.refuse_streams();
        Ok((self.streams(writer), self.early))
    }

    fn streams(&self, writer: &Writer) -> Streams {
        let opened = |name: &str| self.streams.iter().find(|(kind, _)| *kind == name).and_then(|(_, stream)| *stream);
        let outlet = |name: &str| opened(name).map(|stream| writer.outlet(stream));
        Streams {
            error: writer.outlet(opened("error").unwrap_or_default()),
            stdout: outlet("stdout"),
            stderr: outlet("stderr"),
            stdin: opened("stdin"),
            resize: opened("resize"),
            ends: self.streams.iter().filter_map(|(_, stream)| *stream).map(|stream| writer.outlet(stream)).collect(),
        }
    }
}
