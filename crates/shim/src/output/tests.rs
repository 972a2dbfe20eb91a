//! The path from a container's pipes to its log and to clients, with real pipes.

use super::*;
use std::path::Path;
use std::time::Duration;

use cradle_sys::writes::WriteSignals;
use rustix::fs::Mode;

struct Fixture {
    writes: WriteSignals,
    folder: tempfile::TempDir,
    poll: Poll,
    buffers: Buffers,
    output: Output,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn pipe(writes: &WriteSignals) -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    writes.watch(&reader).unwrap();
    (reader, writer)
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::open(&folder.path().join("log")).unwrap();
        let writes = WriteSignals::open().unwrap();
        let ((out, stdout), (err, stderr)) = (pipe(&writes), pipe(&writes));
        let output = Output::pipes(out, err, Some(log), 64);
        let poll = Poll::new().unwrap();
        output.register(&poll, 1).unwrap();
        poll.add(&writes, Source::Writes, Interest::Readable).unwrap();
        Fixture {
            writes,
            folder,
            poll,
            buffers: Buffers::default(),
            output,
            stdout: Some(stdout),
            stderr: Some(stderr),
        }
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
                Source::Writes => self.take_writes(),
                Source::Output(1, stream) => {
                    if ready.hangup {
                        self.output.note_hangup(stream);
                        self.take_writes();
                    }
                    while self.output.read(stream, &self.poll, &mut self.buffers) == Reading::More {}
                }
                Source::Tap(number) => assert!(self.output.untap(number, &self.poll)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn take_writes(&mut self) {
        loop {
            let mut writes = Vec::new();
            assert!(!self.writes.drain(&mut writes, usize::MAX).unwrap());
            if writes.is_empty() {
                break;
            }
            self.output.take(&writes, &self.poll, &mut self.buffers);
        }
        for stream in Stream::BOTH {
            if self.output.is_behind(stream) {
                while self.output.read(stream, &self.poll, &mut self.buffers) == Reading::More {}
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

/// Lines that are written to one stream or the other, and how the log shows them.
fn lines(count: usize) -> impl Iterator<Item = (Stream, String, String)> {
    (0..count).map(|n| match n * n % 7 % 2 {
        0 => (Stream::Stdout, format!("{n}\n"), format!("stdout F {n}")),
        _ => (Stream::Stderr, format!("{n}\n"), format!("stderr F {n}")),
    })
}

#[test]
fn both_streams_are_logged_in_the_order_in_which_they_were_written_however_late_they_are_read() {
    let mut fixture = Fixture::new();
    let mut expected = Vec::new();
    for (n, (stream, text, logged)) in lines(3000).enumerate() {
        fixture.write(stream, text.as_bytes());
        expected.push(logged);
        if n % 700 == 699 || n < 10 {
            fixture.turn();
        }
    }
    fixture.turn();
    assert_eq!(fixture.texts(), expected);
}

#[test]
fn the_order_is_kept_while_another_process_writes_as_fast_as_it_can() {
    let mut fixture = Fixture::new();
    let (stdout, stderr) = (fixture.stdout.take().unwrap(), fixture.stderr.take().unwrap());
    let writer = std::thread::spawn(move || {
        for (stream, text, _) in lines(20_000) {
            rustix::io::write(if stream == Stream::Stdout { &stdout } else { &stderr }, text.as_bytes()).unwrap();
        }
    });
    while !fixture.output.is_closed() {
        fixture.turn();
    }
    writer.join().unwrap();
    let texts = fixture.texts();
    let wrong = lines(20_000).zip(&texts).filter(|((_, _, expected), text)| expected != *text).count();
    assert_eq!(texts.len(), 20_000);
    // A writer that is stopped between its write and the telling of it.
    assert!(wrong <= 20, "{wrong} of 20,000 lines are not in their place");
}

#[test]
fn writes_of_several_lines_and_of_parts_of_lines_are_all_logged() {
    let mut fixture = Fixture::new();
    fixture.write(Stream::Stdout, b"a\nb\nc\nno end");
    fixture.write(Stream::Stderr, b"part, ");
    fixture.turn();
    assert_eq!(fixture.texts(), ["stdout F a", "stdout F b", "stdout F c"]);
    fixture.write(Stream::Stderr, b"rest\n");
    fixture.write(Stream::Stdout, b" yet\n");
    fixture.turn();
    assert_eq!(fixture.texts()[3..], ["stderr F part, rest", "stdout F no end yet"]);
    let much = vec![b'x'; 64];
    for _ in 0..1000 {
        fixture.write(Stream::Stdout, &much);
    }
    fixture.stdout = None;
    fixture.stderr = None;
    while !fixture.output.is_closed() {
        fixture.turn();
    }
    assert_eq!(fixture.texts()[5..].iter().map(|text| text.len() - "stdout P ".len()).sum::<usize>(), 64_000);
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
    let writes = WriteSignals::open().unwrap();
    let ((out, stdout), (err, _stderr)) = (pipe(&writes), pipe(&writes));
    let mut output = Output::pipes(out, err, None, 64);
    let (poll, mut buffers) = (Poll::new().unwrap(), Buffers::default());
    rustix::io::write(&stdout, b"x").unwrap();
    assert_eq!(output.read(Stream::Stdout, &poll, &mut buffers), Reading::Empty);
    assert_eq!(output.read(Stream::Stderr, &poll, &mut buffers), Reading::Empty);
    assert!(!Path::new("log").exists());
}
