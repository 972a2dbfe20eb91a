//! The codec on what clients send, in any pieces, and on what nobody should.

use proptest::prelude::*;

use super::connection::{Connection, Event};
use super::dictionary::DICTIONARY;
use super::frame::{self, Decoder, Frame, FrameError, ResetReason};
use super::headers::{Deflater, HeadersError, Inflater};
use super::testing::{self, Client};
use super::{Headers, ProtocolError};
use crate::limits::{CONTROL_FRAME_MAX_BYTES, HEADERS_MAX, HEADERS_MAX_BYTES, REFUSALS_MAX};

const ERROR_STREAM: [(&str, &str); 1] = [("streamtype", "error")];

/// An event that owns its bytes; pieces of data that follow each other are joined.
#[derive(Debug, PartialEq, Eq)]
enum Owned {
    Opened(u32, Vec<(String, String)>),
    Data(u32, Vec<u8>, bool),
    Reset(u32),
    Answer(Vec<u8>),
}

/// What a connection makes of bytes that come in these pieces.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Owned>, ProtocolError> {
    let mut connection = Connection::new();
    let mut events: Vec<Owned> = Vec::new();
    for mut piece in pieces {
        while let Some(event) = connection.next(&mut piece)? {
            let event = match event {
                Event::Opened { stream, headers, .. } => Owned::Opened(stream, headers.0),
                Event::Data { stream, bytes, last } => match events.last_mut() {
                    Some(Owned::Data(of, begun, ended @ false)) if *of == stream => {
                        begun.extend_from_slice(bytes);
                        *ended = last;
                        continue;
                    }
                    _ => Owned::Data(stream, bytes.to_vec(), last),
                },
                Event::Reset { stream } => Owned::Reset(stream),
                Event::Answer(frame) => Owned::Answer(frame),
            };
            events.push(event);
        }
    }
    Ok(events)
}

fn whole(bytes: &[u8]) -> Result<Vec<Owned>, ProtocolError> {
    events([bytes].into_iter())
}

/// A session as a client has it.
fn session() -> Vec<u8> {
    let mut client = Client::new();
    [
        client.open(1, &ERROR_STREAM),
        testing::ping(1),
        client.open(3, &[("streamtype", "stdin"), ("x-long", &"long ".repeat(300))]),
        testing::data(3, b"ls\n", false),
        testing::data(3, &[9; 70_000], true),
        testing::data(1, b"", true),
        testing::reset(3),
    ]
    .concat()
}

#[test]
fn the_dictionary_is_the_standards() {
    // Its Adler-32 is what every compressed stream begins with.
    let begin = Client::new().compress(b"");
    assert_eq!(begin[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    assert_eq!(DICTIONARY.len(), 1423);
}

#[test]
fn a_session_is_understood() {
    let text = |text: &str| text.to_owned();
    let expected = [
        Owned::Opened(1, vec![(text("streamtype"), text("error"))]),
        Owned::Answer(frame::ping(1)),
        Owned::Opened(3, vec![(text("streamtype"), text("stdin")), (text("x-long"), "long ".repeat(300))]),
        Owned::Data(3, [b"ls\n".to_vec(), vec![9; 70_000]].concat(), true),
        Owned::Data(1, Vec::new(), true),
        Owned::Reset(3),
    ];
    let events = whole(&session()).unwrap();
    assert_eq!(events.len(), expected.len());
    for (event, expected) in events.iter().zip(&expected) {
        assert!(event == expected, "{event:.100?}");
    }
}

#[test]
fn a_session_is_understood_byte_by_byte() {
    let bytes = session();
    assert!(events(bytes.chunks(1)).unwrap() == whole(&bytes).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_do_not_matter(cuts in prop::collection::vec(1_usize..5000, 1..60)) {
        let bytes = session();
        let mut rest = &bytes[..];
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert!(events(pieces).unwrap() == whole(&bytes).unwrap());
    }

    #[test]
    fn garbage_is_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        // An error or not: no panic, and no endless loop.
        let _ = whole(&bytes);
    }

    #[test]
    fn a_damaged_session_is_no_harm(at in 0_usize..2000, to in any::<u8>()) {
        let mut bytes = session();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = whole(&bytes);
    }

    #[test]
    fn what_we_write_as_headers_is_read_back(blocks in prop::collection::vec("[a-z]{1,9}", 1..20)) {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::new());
        for name in blocks {
            let mut block = Vec::new();
            deflater.write(&testing::plain(&[(&name, "value")]), &mut block);
            let headers = inflater.read(&block).unwrap();
            prop_assert_eq!(headers.get(&name), Some("value"));
        }
    }
}

#[test]
fn an_answer_to_a_stream_is_read_as_clients_read_it() {
    let mut deflater = Deflater::default();
    let bytes = [frame::reply(1, &mut deflater), frame::reply(3, &mut deflater)].concat();
    let (mut decoder, mut input) = (Decoder::new(), &bytes[..]);
    assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::Reply { stream: 1 })));
    assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::Reply { stream: 3 })));
    assert_eq!(decoder.decode(&mut input), Ok(None));
}

/// A control frame, well formed or not.
fn control(version: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let [.., x, y, z] = payload.len().to_be_bytes();
    [&(version | 0x8000).to_be_bytes()[..], &kind.to_be_bytes(), &[0, x, y, z], payload].concat()
}

#[test]
fn frames_that_are_none_end_the_session() {
    let number = |number: u32| number.to_be_bytes().to_vec();
    for (bytes, expected) in [
        (control(2, 1, &[0; 10]), FrameError::Version(2)),
        (control(3, 1, &[0; 9]), FrameError::Length { kind: 1, length: 9 }),
        (control(3, 3, &[0, 0, 0, 1]), FrameError::Length { kind: 3, length: 4 }),
        (control(3, 6, &[0; 5]), FrameError::Length { kind: 6, length: 5 }),
        (control(3, 4, &[0, 0, 0, 9]), FrameError::Length { kind: 4, length: 4 }),
        (control(3, 4, &[0xff; 4]), FrameError::Length { kind: 4, length: 4 }),
        (control(3, 3, &[0; 8]), FrameError::StreamZero),
        (testing::data(0, b"x", false), FrameError::StreamZero),
        ([control(3, 1, b"")[..5].to_vec(), vec![0xff; 3]].concat(), FrameError::TooLong(0xff_ffff)),
        (control(3, 1, &[number(1), vec![0; 6], vec![7; 30]].concat()), FrameError::Headers(HeadersError::Compression)),
    ] {
        assert_eq!(whole(&bytes), Err(ProtocolError::Frame(expected)));
    }
}

#[test]
fn frames_that_we_do_not_need_are_let_pass() {
    let window = control(3, 9, &[0, 0, 0, 1, 0, 0, 1, 0]);
    let settings = control(3, 4, &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9]);
    let unknown = control(3, 77, &vec![1; 3 * CONTROL_FRAME_MAX_BYTES]);
    let goodbye = frame::go_away(0, 0);
    let bytes = [window, settings, unknown, goodbye, testing::ping(2), testing::ping(3)].concat();
    assert_eq!(whole(&bytes), Ok(vec![Owned::Answer(frame::ping(3))]));
}

#[test]
fn headers_that_unfold_to_too_much_end_the_session() {
    let bomb = Client::new().compress(&vec![0; 8 << 20]);
    assert!(bomb.len() < CONTROL_FRAME_MAX_BYTES, "{}", bomb.len());
    assert_eq!(Inflater::new().read(&bomb), Err(HeadersError::TooLarge));

    let most = "v".repeat(HEADERS_MAX_BYTES - 64);
    let block = Client::new().compress(&testing::plain(&[("name", &most)]));
    assert_eq!(Inflater::new().read(&block).unwrap().get("name"), Some(&*most));
}

#[test]
fn headers_that_are_none_end_the_session() {
    let read = |plain: &[u8]| Inflater::new().read(&Client::new().compress(plain));
    let many: Vec<_> = (0..=HEADERS_MAX).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(read(&testing::plain(&many)), Err(HeadersError::TooMany(HEADERS_MAX as u32 + 1)));
    assert_eq!(read(&testing::plain(&many[1..])).unwrap().0.len(), HEADERS_MAX);
    assert_eq!(read(&[0, 0, 0, 1]), Err(HeadersError::Length));
    assert_eq!(read(&[testing::plain(&[]), vec![0]].concat()), Err(HeadersError::Length));
    assert_eq!(read(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]), Err(HeadersError::Length));
    assert_eq!(read(&testing::plain(&[("streamType", "x")])), Err(HeadersError::Name));
    assert_eq!(read(&testing::plain(&[("", "x")])), Err(HeadersError::Name));
    assert_eq!(read(&testing::plain(&[("a", "x"), ("a", "y")])), Err(HeadersError::Name));
    assert_eq!(read(b"\0\0\0\x01\0\0\0\x01\xff\0\0\0\0"), Err(HeadersError::Text));
    assert_eq!(read(&testing::plain(&[])), Ok(Headers::default()));
}

#[test]
fn a_zlib_stream_that_ends_is_damaged() {
    let mut block = Vec::with_capacity(1024);
    let mut deflater = flate2::Compress::new(flate2::Compression::fast(), true);
    deflater.compress_vec(&testing::plain(&[]), &mut block, flate2::FlushCompress::Finish).unwrap();
    assert_eq!(Inflater::new().read(&block), Err(HeadersError::Compression));
}

#[test]
fn streams_have_odd_numbers_that_grow() {
    let mut client = Client::new();
    let twice = [client.open(3, &ERROR_STREAM), client.open(3, &ERROR_STREAM)].concat();
    assert_eq!(whole(&twice), Err(ProtocolError::StreamOrder { stream: 3, last: 3 }));
    assert_eq!(whole(&Client::new().open(2, &ERROR_STREAM)), Err(ProtocolError::StreamOrder { stream: 2, last: 0 }));
    let reply = frame::reply(1, &mut Deflater::default());
    assert_eq!(whole(&reply), Err(ProtocolError::Reply(1)));
}

#[test]
fn data_without_a_stream_costs_that_stream_alone() {
    let mut client = Client::new();
    let bytes = [
        testing::data(5, b"early", false),
        client.open(7, &ERROR_STREAM),
        testing::data(7, b"", true),
        testing::data(7, b"after its end", false),
        testing::ping(1),
    ]
    .concat();
    let events = whole(&bytes).unwrap();
    assert_eq!(events[0], Owned::Answer(frame::reset(5, ResetReason::InvalidStream)));
    assert_eq!(events[2..], [Owned::Data(7, Vec::new(), true), Owned::Answer(frame::ping(1))]);
}

#[test]
fn streams_beyond_those_wanted_are_refused_until_it_is_too_much() {
    let (mut client, mut connection) = (Client::new(), Connection::new());
    connection.refuse_streams();
    for number in 0..REFUSALS_MAX {
        let stream = 2 * number + 1;
        let bytes = client.open(stream, &ERROR_STREAM);
        let answer = frame::reset(stream, ResetReason::Refused);
        assert_eq!(connection.next(&mut &bytes[..]), Ok(Some(Event::Answer(answer))));
    }
    let bytes = client.open(9999, &ERROR_STREAM);
    assert_eq!(connection.next(&mut &bytes[..]), Err(ProtocolError::Refusals));
}
