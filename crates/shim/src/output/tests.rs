//! The path from a container's pipes to its log and to clients, with real pipes.

use super::*;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;

struct Fixture {
    folder: tempfile::TempDir,
    poll: Poll,
    buffers: Buffers,
    output: Output,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    (reader, writer)
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::open(&folder.path().join("log")).unwrap();
        let ((out, stdout), (err, stderr)) = (pipe(), pipe());
        let output = Output::pipes(out, err, Some(log), 64);
        let poll = Poll::new().unwrap();
        output.register(&poll, 1).unwrap();
        Fixture { folder, poll, buffers: Buffers::default(), output, stdout: Some(stdout), stderr: Some(stderr) }
    }

    fn write(&self, stream: Stream, text: &[u8]) {
        let end = if stream == Stream::Stdout { &self.stdout } else { &self.stderr };
        rustix::io::write(end.as_ref().unwrap(), text).unwrap();
    }

    /// Handles what is ready, as the event loop does.
    fn turn(&mut self) {
        let batch = self.poll.wait(Some(Duration::from_secs(10))).unwrap();
        for ready in batch.iter() {
            match ready.source {
                Source::Output(1, stream) => {
                    if ready.hangup {
                        self.output.note_hangup(stream);
                    }
                    while self.output.read(stream, &self.poll, &mut self.buffers) == Reading::More {}
                }
                Source::Tap(number) => assert!(self.output.untap(number, &self.poll)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn texts(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.split_terminator('\n').map(|line| line[31..].to_owned()).collect()
    }

    fn tap(&mut self, stream: Stream, client: u32) -> OwnedFd {
        self.output.tap(stream, client, client * 10, &self.poll).unwrap().unwrap()
    }
}

fn read_all(pipe: &OwnedFd) -> Vec<u8> {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(pipe, &mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

#[test]
fn both_streams_are_logged_in_the_order_of_their_arrival() {
    let mut fixture = Fixture::new();
    let mut expected = Vec::new();
    for n in 0..50 {
        for stream in [Stream::Stderr, Stream::Stdout] {
            fixture.write(stream, format!("{n}\n").as_bytes());
            expected.push(format!("{} F {n}", if stream == Stream::Stdout { "stdout" } else { "stderr" }));
        }
        fixture.turn();
    }
    assert_eq!(fixture.texts(), expected);
}

#[test]
fn what_has_no_line_end_is_written_when_the_stream_ends() {
    let mut fixture = Fixture::new();
    fixture.write(Stream::Stdout, b"one\ntwo");
    fixture.turn();
    assert_eq!(fixture.texts(), ["stdout F one"]);
    fixture.stdout = None;
    fixture.turn();
    assert_eq!(fixture.texts(), ["stdout F one", "stdout P two"]);
    assert!(!fixture.output.is_closed());
    fixture.stderr = None;
    fixture.turn();
    assert!(fixture.output.is_closed());
}

#[test]
fn data_and_end_that_arrive_together_are_both_seen() {
    let mut fixture = Fixture::new();
    fixture.write(Stream::Stdout, b"last words\n");
    fixture.stdout = None;
    fixture.stderr = None;
    fixture.turn();
    assert_eq!(fixture.texts(), ["stdout F last words"]);
    assert!(fixture.output.is_closed());
}

#[test]
fn clients_get_a_raw_copy_of_their_stream_from_now_on_and_its_end() {
    let mut fixture = Fixture::new();
    fixture.write(Stream::Stdout, b"before\n");
    fixture.turn();
    let (one, two) = (fixture.tap(Stream::Stdout, 1), fixture.tap(Stream::Stderr, 2));
    fixture.write(Stream::Stdout, b"out no line end");
    fixture.write(Stream::Stderr, b"err");
    fixture.turn();
    assert_eq!(read_all(&one), b"out no line end");
    assert_eq!(read_all(&two), b"err");
    fixture.stdout = None;
    fixture.turn();
    assert_eq!(rustix::io::read(&one, &mut [0; 1]), Ok(0), "the end");
    assert_eq!(rustix::io::read(&two, &mut [0; 1]), Err(Errno::AGAIN));
}

#[test]
fn a_client_that_lags_too_far_behind_is_let_go_and_nobody_else_notices() {
    let mut fixture = Fixture::new();
    let (slow, good) = (fixture.tap(Stream::Stdout, 1), fixture.tap(Stream::Stdout, 2));
    let line = [b'x'; 4096];
    let mut received = 0;
    for _ in 0..1000 {
        fixture.write(Stream::Stdout, &line);
        fixture.turn();
        received += read_all(&good).len();
    }
    assert_eq!(received, 1000 * line.len());
    assert_eq!(fixture.output.taps.len(), 1);
    let lag = read_all(&slow).len();
    assert!((1..=ATTACH_LAG_BYTES).contains(&lag), "{lag}");
    assert_eq!(rustix::io::read(&slow, &mut [0; 1]), Ok(0), "it sees an end");
}

#[test]
fn a_client_that_has_left_is_noticed_without_any_output() {
    let mut fixture = Fixture::new();
    let client = fixture.tap(Stream::Stdout, 1);
    assert_eq!(fixture.output.taps.len(), 1);
    drop(client);
    fixture.turn();
    assert_eq!(fixture.output.taps.len(), 0);
}

#[test]
fn a_terminal_is_logged_as_stdout_and_ends_when_nobody_has_it_open() {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let slave_flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), slave_flags, Mode::empty()).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();

    let mut fixture = Fixture::new();
    let log = LogFile::open(&fixture.folder.path().join("log")).unwrap();
    fixture.output = Output::terminal(master, Some(log), 64);
    fixture.output.register(&fixture.poll, 1).unwrap();
    assert!(fixture.output.terminal_master().is_some());
    rustix::io::write(&slave, b"hello\n").unwrap();
    fixture.turn();
    assert_eq!(fixture.texts(), ["stdout F hello\r"]);
    drop(slave);
    fixture.turn();
    assert!(fixture.output.is_closed());
}

#[test]
fn without_a_log_output_is_read_all_the_same() {
    let ((out, stdout), (err, _stderr)) = (pipe(), pipe());
    let mut output = Output::pipes(out, err, None, 64);
    let (poll, mut buffers) = (Poll::new().unwrap(), Buffers::default());
    rustix::io::write(&stdout, b"x").unwrap();
    assert_eq!(output.read(Stream::Stdout, &poll, &mut buffers), Reading::Empty);
    assert_eq!(output.read(Stream::Stderr, &poll, &mut buffers), Reading::Empty);
    assert!(!Path::new("log").exists());
}
