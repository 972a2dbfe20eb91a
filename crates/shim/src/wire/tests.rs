//! Round trips, and bytes that are no message.

use std::time::Duration;

use cradle_domain::{Class, ContainerId, Timestamp};
use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::protocol::{
    ContainerReport, Event, ExecId, Exit, Greeting, Refusal, Reply, Request, Scope, Target, VERSION,
};

fn container() -> ContainerId {
    ContainerId::from_random([9; 32])
}

fn request(body: Request) -> Frame {
    Frame::Request { sequence: 7, request_id: "r-1".into(), body }
}

fn frames() -> Vec<Frame> {
    let exit = Exit { code: 137, at: Timestamp(1), oom_killed: true, timed_out: false };
    let report = ContainerReport { container: container(), pid: 3, started_at: Timestamp(2), exit: Some(exit) };
    let greeting = Greeting {
        version: VERSION,
        pod: cradle_domain::PodId::from_random([1; 32]),
        pid: 1,
        set_up: true,
        containers: vec![report; 3],
    };
    vec![
        request(Request::Hello { version: VERSION }),
        request(Request::Signal { target: Target::Exec(container(), ExecId(4)), signal: 15, scope: Scope::Group }),
        request(Request::Attach { container: container(), stdin: true, stdout: false, stderr: true }),
        request(Request::Dial { port: 80 }),
        request(Request::Shutdown),
        Frame::Reply { sequence: u64::MAX, body: Ok(Reply::Greeting(Box::new(greeting))) },
        Frame::Reply { sequence: 0, body: Err(Refusal::new(Class::Exhausted, "no room").with_hint("make some")) },
        Frame::Event(Event::ExecExited { container: container(), exec: ExecId(1), exit }),
        Frame::Event(Event::LogLost { container: container(), lost_bytes: 5, error: "No space".into() }),
    ]
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn text(frame: &Frame) -> String {
    format!("{frame:?}")
}

#[test]
fn every_frame_arrives_as_it_was_sent() {
    let (a, b) = pair();
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    for frame in frames() {
        let expected = text(&frame);
        send(&a, &encode(Message::bare(frame)).unwrap()).unwrap();
        assert_eq!(text(&receive(&b, &mut buffer).unwrap().frame), expected);
    }
    assert!(receive(&b, &mut buffer).unwrap_err().is_would_block());
    drop(a);
    assert!(receive(&b, &mut buffer).unwrap_err().is_closed());
}

#[test]
fn a_large_frame_travels_in_a_memory_file_and_keeps_its_descriptors() {
    let (a, b) = pair();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let frame = Frame::Reply { sequence: 1, body: Err(Refusal::new(Class::Bug, "x".repeat(INLINE_MAX_BYTES + 1))) };
    let expected = text(&frame);
    let encoded = encode(Message { frame, descriptors: vec![writer] }).unwrap();
    assert!(encoded.bytes.len() < 64);
    send(&a, &encoded).unwrap();
    drop(encoded);
    let message = receive(&b, &mut vec![0; RECEIVE_BUFFER_BYTES]).unwrap();
    assert_eq!(text(&message.frame), expected);
    assert_eq!(message.descriptors.len(), 1);
    rustix::io::write(&message.descriptors[0], b"x").unwrap();
    assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(1));
}

#[test]
fn what_is_longer_than_any_message_is_not_sent_and_not_taken() {
    let frame =
        Frame::Event(Event::LogLost { container: container(), lost_bytes: 0, error: "x".repeat(BODY_MAX_BYTES) });
    assert!(matches!(encode(Message::bare(frame)), Err(EncodeError::TooLong { .. })));
    let lie = postcard::to_allocvec(&Frame::InMemfd { length: u64::MAX }).unwrap();
    assert!(matches!(decode(&lie, Vec::new()), Err(DecodeError::TooLong { .. })));
}

#[test]
fn a_memory_file_that_is_missing_lying_or_nested_is_refused() {
    let envelope = |length| postcard::to_allocvec(&Frame::InMemfd { length }).unwrap();
    assert!(matches!(decode(&envelope(10), Vec::new()), Err(DecodeError::MemfdMissing)));
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let lie = decode(&envelope(10), vec![pipe]);
    assert!(matches!(lie, Err(DecodeError::Memfd(ReadSealedError::NotSealed))));
    let inner = envelope(10);
    let nested = memfd::sealed("nested", &inner).unwrap();
    assert!(matches!(decode(&envelope(inner.len() as u64), vec![nested]), Err(DecodeError::MemfdInMemfd)));
    let short = memfd::sealed("short", b"abc").unwrap();
    let lie = decode(&envelope(10), vec![short]);
    assert!(matches!(lie, Err(DecodeError::Memfd(ReadSealedError::OtherLength { .. }))));
}

#[test]
fn a_request_of_a_later_version_can_be_refused_by_its_number() {
    #[derive(serde::Serialize)]
    enum Later {
        Request { sequence: u64, request_id: &'static str, body: u32, more: [u8; 3] },
    }
    let later = Later::Request { sequence: 99, request_id: "r", body: 1000, more: [1, 2, 3] };
    let bytes = postcard::to_allocvec(&later).unwrap();
    assert!(matches!(decode(&bytes, Vec::new()), Err(DecodeError::UnknownRequest { sequence: 99 })));
}

#[test]
fn bytes_after_a_message_are_not_passed_over() {
    let mut bytes = postcard::to_allocvec(&request(Request::Shutdown)).unwrap();
    bytes.push(0);
    assert!(matches!(decode(&bytes, Vec::new()), Err(DecodeError::TrailingBytes { count: 1 })));
}

#[test]
fn the_numbers_of_requests_never_change() {
    // A daemon drives shims of earlier versions: these bytes were fixed with version 1.
    let timeout = Some(Duration::from_secs(1));
    assert_eq!(postcard::to_allocvec(&timeout).unwrap(), [1, 1, 0]);
    for (body, number) in [
        (Request::Hello { version: 1 }, 0_u8),
        (Request::KillContainer { container: container() }, 5),
        (Request::RemoveContainer { container: container() }, 6),
        (Request::ReopenLog { container: container() }, 7),
        (Request::Dial { port: 1 }, 10),
        (Request::Shutdown, 11),
    ] {
        assert_eq!(postcard::to_allocvec(&body).unwrap()[0], number, "{body:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, Vec::new());
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(which in 0_usize..9, at in any::<usize>(), to in any::<u8>(), cut in any::<usize>()) {
        let frames = frames();
        let mut bytes = postcard::to_allocvec(&frames[which % frames.len()]).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = decode(&bytes, Vec::new());
        bytes.truncate(cut % (bytes.len() + 1));
        let _ = decode(&bytes, Vec::new());
    }
}
