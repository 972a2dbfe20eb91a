//! Fuzz target: what a client of SPDY may send.

use super::connection::{Connection, Event};
use super::frame::{self, Decoder, Frame};
use super::headers::{Deflater, Headers, Inflater};
use crate::limits::{HEADERS_MAX, HEADERS_MAX_BYTES, REFUSALS_MAX};

/// A client's connection; the first byte says in which pieces it comes. The pieces make no difference, and what has been
/// understood is within its bounds.
pub fn spdy(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let whole = Heard::of([data].into_iter(), cut);
    let pieces = Heard::of(data.chunks(1 + usize::from(cut)), cut);
    assert_eq!(whole, pieces);
    assert!(whole.answers <= data.len() && whole.refusals <= REFUSALS_MAX);
    whole.opened.iter().for_each(check_headers);
    read_back(&whole);
}

/// What a connection makes of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    opened: Vec<Headers>,
    /// Streams, what came on them in a row, and whether they were ended.
    data: Vec<(u32, Vec<u8>, bool)>,
    reset: Vec<u32>,
    answers: usize,
    refusals: u32,
    error: Option<String>,
}

impl Heard {
    /// Some clients are refused every other stream, some all of them from the second on.
    fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>, kind: u8) -> Self {
        let mut heard = Heard::default();
        let mut connection = Connection::new();
        for mut piece in pieces {
            loop {
                match connection.next(&mut piece) {
                    Ok(None) => break,
                    Ok(Some(event)) => heard.take(event),
                    Err(error) => {
                        heard.error = Some(error.to_string());
                        return heard;
                    }
                }
                if kind % 4 == 1 && heard.opened.len() == 2 {
                    connection.refuse_streams();
                }
                if kind % 4 == 2 && heard.opened.len() % 2 == 1 && heard.opened.len() > heard.refusals as usize * 2 {
                    heard.refusals += 1;
                    if connection.refuse(connection.last_stream()).is_err() {
                        heard.refusals = REFUSALS_MAX;
                        return heard;
                    }
                }
            }
            assert!(piece.is_empty(), "what was given is taken");
        }
        heard
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Opened { headers, .. } => self.opened.push(headers),
            Event::Data { stream, bytes, last } => match self.data.last_mut() {
                Some((same, begun, ended @ false)) if *same == stream => {
                    begun.extend_from_slice(bytes);
                    *ended = last;
                }
                _ => self.data.push((stream, bytes.to_vec(), last)),
            },
            Event::Reset { stream } => self.reset.push(stream),
            Event::Answer(frame) => {
                let mut input = &frame[..];
                assert!(matches!(
                    Decoder::new().decode(&mut input),
                    Ok(Some(Frame::Reset { .. } | Frame::Ping { .. }))
                ));
                assert!(input.is_empty());
                self.answers += 1;
            }
        }
    }
}

fn check_headers(headers: &Headers) {
    let bytes: usize = headers.0.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= HEADERS_MAX_BYTES && headers.0.len() <= HEADERS_MAX);
    for (at, (name, _)) in headers.0.iter().enumerate() {
        assert!(!name.is_empty() && headers.0[..at].iter().all(|(before, _)| before != name));
    }
}

/// What we would write for the same streams is read as the same.
fn read_back(heard: &Heard) {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::new());
    for headers in &heard.opened {
        let mut block = Vec::new();
        deflater.write(&plain(headers), &mut block);
        assert_eq!(inflater.read(&block).as_ref(), Ok(headers));
    }
    for (stream, bytes, last) in &heard.data {
        let framed = [&frame::data_head(*stream, bytes.len(), *last)[..], bytes].concat();
        let (mut decoder, mut input) = (Decoder::new(), &framed[..]);
        let again = decoder.decode(&mut input);
        assert_eq!(again, Ok(Some(Frame::Data { stream: *stream, bytes, last: *last })));
    }
}

/// Headers before they are compressed.
fn plain(headers: &Headers) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut plain = number(headers.0.len()).to_vec();
    for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend_from_slice(&number(text.len()));
        plain.extend_from_slice(text.as_bytes());
    }
    plain
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    use super::super::testing::{Client, data, open, ping, plain, reset};
    use super::*;

    fn command() -> Vec<u8> {
        let mut client = Client::new();
        let streams = ["error", "stdin", "stdout", "resize"].into_iter().zip((1..).step_by(2));
        let opened: Vec<u8> = streams.flat_map(|(kind, stream)| client.open(stream, &[("streamtype", kind)])).collect();
        let size = data(7, br#"{"Width":80,"Height":24}"#, false);
        [opened, ping(1), data(3, b"ls\n", false), size, data(3, b"", true), reset(5)].concat()
    }

    fn forward() -> Vec<u8> {
        let mut client = Client::new();
        let mut open = |stream, kind, request| {
            client.open(stream, &[("streamtype", kind), ("port", "80"), ("requestid", request)])
        };
        [
            open(1, "error", "0"),
            open(3, "data", "0"),
            data(3, b"GET / HTTP/1.1\r\n\r\n", true),
            open(5, "data", "1"),
            open(7, "error", "1"),
            data(5, &[9; 300], false),
        ]
        .concat()
    }

    /// Headers without compression, which a mutator can change.
    fn stored() -> Vec<u8> {
        let mut deflater = Deflater::default();
        let mut frames = Vec::new();
        for (stream, name) in [(1, "streamtype"), (3, "x")] {
            let mut block = Vec::new();
            deflater.write(&plain(&[(name, "error"), ("port", "1")]), &mut block);
            frames.extend(open(stream, &block));
        }
        frames
    }

    #[test]
    fn clients_of_spdy_do_no_harm() {
        let bomb = open(1, &Client::new().compress(&vec![0; 1 << 20]));
        let others = [
            frame::go_away(0, 0),
            frame::reply(1, &mut Deflater::default()),
            // SETTINGS with one entry, WINDOW_UPDATE, an unknown one.
            vec![0x80, 3, 0, 4, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9],
            vec![0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 1, 0],
            vec![0x80, 3, 0, 77, 0, 0, 0, 3, 1, 2, 3],
        ];
        let samples = [command(), forward(), stored(), bomb].into_iter().chain(others);
        let with_cut =
            samples.zip([0, 1, 6, 255].into_iter().cycle()).map(|(bytes, cut)| [&[cut], &bytes[..]].concat());
        Replay::new("spdy").run(with_cut, spdy);
    }
}
