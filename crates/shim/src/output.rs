//! What a container writes: from its pipes or its terminal to its log and to those who attached.
//!
//! Nobody who reads the output can slow the container: the log drops what the disk does not take, and a client that lags
//! too far behind is let go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::buffers::Buffers;
use crate::limits::{ATTACH_LAG_BYTES, ATTACHED_MAX, LOG_WRITE_BYTES};
use crate::log_file::LogFile;
use crate::log_line::{Lines, Stamp, Stream};
use crate::poll::{Interest, Poll, Source};

/// Both outputs of a container. A terminal counts as stdout.
#[derive(Debug)]
pub struct Output {
    stdout: Option<Channel>,
    stderr: Option<Channel>,
    terminal: bool,
    log: Option<LogFile>,
    taps: Vec<Tap>,
}

/// One stream.
#[derive(Debug)]
struct Channel {
    source: OwnedFd,
    lines: Lines,
    /// No writer is left, so no arrival will be reported any more: read on until the end.
    hangup: bool,
}

/// A pipe to a client that attached.
#[derive(Debug)]
struct Tap {
    /// Its number as an event source.
    number: u32,
    /// What one client got together is closed together.
    client: u32,
    stream: Stream,
    pipe: OwnedFd,
}

/// What reading a stream once has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Nothing is left; the next arrival will be reported.
    Empty,
    /// There may be more.
    More,
    /// The stream has ended.
    Ended,
}

impl Output {
    /// The output of a container with pipes; the descriptors are their reading ends, which do not block.
    pub fn pipes(stdout: OwnedFd, stderr: OwnedFd, log: Option<LogFile>, line_max: usize) -> Self {
        let channel = |source, stream| Some(Channel { source, lines: Lines::new(stream, line_max), hangup: false });
        Output {
            stdout: channel(stdout, Stream::Stdout),
            stderr: channel(stderr, Stream::Stderr),
            terminal: false,
            log,
            taps: Vec::new(),
        }
    }

    /// The output of a container with a terminal, of which this is the master, which does not block.
    pub fn terminal(master: OwnedFd, log: Option<LogFile>, line_max: usize) -> Self {
        let lines = Lines::new(Stream::Stdout, line_max);
        let stdout = Some(Channel { source: master, lines, hangup: false });
        Output { stdout, stderr: None, terminal: true, log, taps: Vec::new() }
    }

    /// Has the events of both streams reported as those of the container with this number.
    pub fn register(&self, poll: &Poll, container: u32) -> Result<(), Errno> {
        for (channel, stream) in [(&self.stdout, Stream::Stdout), (&self.stderr, Stream::Stderr)] {
            if let Some(channel) = channel {
                poll.add(&channel.source, Source::Output(container, stream), Interest::Arrivals)?;
            }
        }
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// The terminal's master, while the terminal is in use.
    pub fn terminal_master(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().filter(|_| self.terminal).map(|channel| channel.source.as_fd())
    }

    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    pub fn log(&mut self) -> Option<&mut LogFile> {
        self.log.as_mut()
    }

    /// Notes that no writer of a stream is left.
    pub fn note_hangup(&mut self, stream: Stream) {
        if let Some(channel) = self.channel(stream) {
            channel.hangup = true;
        }
    }

    fn channel(&mut self, stream: Stream) -> Option<&mut Channel> {
        match stream {
            Stream::Stdout => self.stdout.as_mut(),
            Stream::Stderr => self.stderr.as_mut(),
        }
    }

    /// Reads a stream once and passes on what came.
    pub fn read(&mut self, stream: Stream, poll: &Poll, buffers: &mut Buffers) -> Reading {
        let (input, lines) = buffers.for_output();
        let terminal = self.terminal;
        let Some(channel) = self.channel(stream) else { return Reading::Ended };
        match rustix::io::retry_on_intr(|| rustix::io::read(&channel.source, &mut *input)) {
            Ok(0) => self.end(stream, poll, lines),
            Ok(count) => {
                // A pipe that gave less than it was asked for is empty; a terminal gives what it likes.
                let more = channel.hangup || terminal || count == input.len();
                self.pass_on(stream, &input[..count], lines);
                self.copy_to_taps(stream, &input[..count], poll);
                if more { Reading::More } else { Reading::Empty }
            }
            Err(Errno::AGAIN) => Reading::Empty,
            // A terminal's master says EIO when nobody has the terminal open any more; other errors of a pipe or a
            // terminal mean as well that nothing will come.
            Err(_) => self.end(stream, poll, lines),
        }
    }

    fn pass_on(&mut self, stream: Stream, mut bytes: &[u8], lines: &mut Vec<u8>) {
        if self.log.is_none() {
            return;
        }
        let stamp = Stamp::now();
        while !bytes.is_empty() {
            let Some(channel) = self.channel(stream) else { return };
            let taken = channel.lines.push(bytes, &stamp, lines, LOG_WRITE_BYTES);
            bytes = &bytes[taken..];
            self.write_log(lines, &stamp);
        }
    }

    fn write_log(&mut self, lines: &mut Vec<u8>, stamp: &Stamp) {
        if let Some(log) = self.log.as_mut().filter(|_| !lines.is_empty()) {
            log.write(lines, stamp);
        }
        lines.clear();
    }

    /// Closes one stream: what is left of a line is written, and the clients see the end.
    fn end(&mut self, stream: Stream, poll: &Poll, lines: &mut Vec<u8>) -> Reading {
        let channel = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        if let Some(mut channel) = channel {
            poll.remove(&channel.source);
            let stamp = Stamp::now();
            channel.lines.finish(&stamp, lines);
            self.write_log(lines, &stamp);
        }
        self.drop_taps(poll, |tap| tap.stream == stream);
        if self.is_closed()
            && let Some(log) = self.log.as_mut()
        {
            log.finish(&Stamp::now());
        }
        Reading::Ended
    }

    /// Closes both streams, whatever may still come.
    pub fn close(&mut self, poll: &Poll, buffers: &mut Buffers) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.channel(stream).is_some() {
                let (_, lines) = buffers.for_output();
                self.end(stream, poll, lines);
            }
        }
    }

    /// Closes the log file, once nothing more is written.
    pub fn close_log(&mut self) {
        self.log = None;
    }

    /// Whether one more client may attach.
    pub fn has_room_for_client(&self) -> bool {
        self.taps.len() < 2 * ATTACHED_MAX
    }

    /// Makes a pipe that carries a copy of the stream from now on; returns its reading end. A stream that has ended has
    /// no pipe.
    pub fn tap(&mut self, stream: Stream, client: u32, number: u32, poll: &Poll) -> Result<Option<OwnedFd>, Errno> {
        if self.channel(stream).is_none() {
            return Ok(None);
        }
        let (reader, pipe) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Where the larger size is not granted, the client may lag behind by the smaller one.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, ATTACH_LAG_BYTES);
        rustix::io::ioctl_fionbio(&pipe, true)?;
        poll.add(&pipe, Source::Tap(number), Interest::Hangup)?;
        self.taps.push(Tap { number, client, stream, pipe });
        Ok(Some(reader))
    }

    /// The client at the other end of this pipe is gone. True: it was one of this container's.
    pub fn untap(&mut self, number: u32, poll: &Poll) -> bool {
        let client = self.taps.iter().find(|tap| tap.number == number).map(|tap| tap.client);
        if let Some(client) = client {
            self.drop_client(client, poll);
        }
        client.is_some()
    }

    /// Closes the pipes of one client.
    pub fn drop_client(&mut self, client: u32, poll: &Poll) {
        self.drop_taps(poll, |tap| tap.client == client);
    }

    fn drop_taps(&mut self, poll: &Poll, which: impl Fn(&Tap) -> bool) {
        self.taps.retain(|tap| {
            let dropped = which(tap);
            if dropped {
                poll.remove(&tap.pipe);
            }
            !dropped
        });
    }

    fn copy_to_taps(&mut self, stream: Stream, bytes: &[u8], poll: &Poll) {
        let mut gone = Vec::new();
        for tap in self.taps.iter().filter(|tap| tap.stream == stream) {
            // Less than all means that the pipe is full: this client lags too far behind to see a whole output.
            match rustix::io::retry_on_intr(|| rustix::io::write(&tap.pipe, bytes)) {
                Ok(count) if count == bytes.len() => {}
                Ok(_) | Err(_) => gone.push(tap.client),
            }
        }
        for client in gone {
            self.drop_client(client, poll);
        }
    }
}

#[cfg(test)]
mod tests;
