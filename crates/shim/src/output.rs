//! What a container writes: from its pipes or its terminal to its log and to those who attached.
//!
//! The two streams are passed on in the order of their writes, which the kernel tells ([`cradle_sys::writes`]): a write is
//! taken to be one line. What a program writes in other pieces is in order within its stream, and between the streams
//! as far as it does not write faster than it is read.
//!
//! Nobody who reads the output can slow the container: the log drops what the disk does not take, and a client that lags
//! too far behind is let go.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::buffers::Buffers;
use crate::limits::{ATTACH_LAG_BYTES, ATTACHED_MAX, FILLING_BYTES, LOG_WRITE_BYTES};
use crate::log_file::LogFile;
use crate::log_line::{Lines, Stamp, Stream};
use crate::poll::{Interest, Poll, Source};
use crate::read_ahead::ReadAhead;

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
    ahead: ReadAhead,
    /// No writer is left, so no arrival will be reported any more: read on until the end.
    hangup: bool,
}

impl Channel {
    fn new(source: OwnedFd, stream: Stream, line_max: usize) -> Self {
        let lines = Lines::new(stream, line_max);
        Channel { source, lines, ahead: ReadAhead::default(), hangup: false }
    }
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

/// What a stream has to do with.
struct Parts<'a> {
    channel: &'a mut Channel,
    log: Option<&'a mut LogFile>,
    taps: &'a mut Vec<Tap>,
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
    /// The output of a container with pipes; the descriptors are their reading ends, whose writes are told.
    pub fn pipes(stdout: OwnedFd, stderr: OwnedFd, log: Option<LogFile>, line_max: usize) -> Self {
        let stdout = Some(Channel::new(stdout, Stream::Stdout, line_max));
        let stderr = Some(Channel::new(stderr, Stream::Stderr, line_max));
        Output { stdout, stderr, terminal: false, log, taps: Vec::new() }
    }

    /// The output of a container with a terminal, of which this is the master, which does not block.
    pub fn terminal(master: OwnedFd, log: Option<LogFile>, line_max: usize) -> Self {
        let stdout = Some(Channel::new(master, Stream::Stdout, line_max));
        Output { stdout, stderr: None, terminal: true, log, taps: Vec::new() }
    }

    /// Has the events of both streams reported as those of the container with this number: what arrives from a terminal,
    /// the ends of pipes.
    pub fn register(&self, poll: &Poll, container: u32) -> Result<(), Errno> {
        let interest = if self.terminal { Interest::Arrivals } else { Interest::Hangup };
        for (channel, stream) in [(&self.stdout, Stream::Stdout), (&self.stderr, Stream::Stderr)] {
            if let Some(channel) = channel {
                poll.add(&channel.source, Source::Output(container, stream), interest)?;
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
        if let Some(Parts { channel, .. }) = self.parts(stream) {
            channel.hangup = true;
        }
    }

    fn parts(&mut self, stream: Stream) -> Option<Parts<'_>> {
        let channel = match stream {
            Stream::Stdout => self.stdout.as_mut(),
            Stream::Stderr => self.stderr.as_mut(),
        };
        channel.map(|channel| Parts { channel, log: self.log.as_mut(), taps: &mut self.taps })
    }

    fn channel(&self, stream: Stream) -> Option<&Channel> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    /// The descriptor that a stream is read from, while it is open.
    pub fn pipe_of(&self, stream: Stream) -> Option<RawFd> {
        self.channel(stream).map(|channel| channel.source.as_raw_fd())
    }

    /// Whether more is written than read.
    pub fn is_filling(&self) -> bool {
        let waiting = |channel: &Channel| rustix::io::ioctl_fionread(&channel.source).unwrap_or_default();
        [&self.stdout, &self.stderr].into_iter().flatten().any(|channel| waiting(channel) >= FILLING_BYTES)
    }

    /// Passes on what was written to these pipes, in this order, as the kernel has told it.
    ///
    /// Both are read after that was told and before anything is passed on, so that no write is taken for an earlier one.
    pub fn take(&mut self, writes: &[RawFd], poll: &Poll, buffers: &mut Buffers) {
        let pipes = Stream::BOTH.map(|stream| (stream, self.pipe_of(stream)));
        let wrote = |pipe: Option<RawFd>| pipe.is_some_and(|pipe| writes.contains(&pipe));
        let ended = pipes.map(|(stream, pipe)| {
            let room = self.channel(stream).is_some_and(|channel| channel.ahead.has_room());
            wrote(pipe) && room && self.fill(stream, poll) == Reading::Ended
        });
        let lines = buffers.for_lines();
        let stamp = Stamp::now();
        let mut rest = writes;
        while let Some(pipe) = rest.first() {
            let count = rest.iter().take_while(|other| *other == pipe).count();
            if let Some((stream, _)) = pipes.iter().find(|(_, own)| *own == Some(*pipe)) {
                self.pass_on(*stream, lines, &stamp, |ahead| ahead.take(count));
            }
            rest = &rest[count..];
        }
        for ((stream, _), ended) in pipes.iter().zip(ended) {
            if ended {
                self.end(*stream, poll, lines);
            }
        }
        self.write_log(lines, &stamp);
    }

    /// Whether something was read that is not passed on, or something may be there that is not read.
    pub fn is_behind(&self, stream: Stream) -> bool {
        self.channel(stream).is_some_and(|channel| channel.ahead.is_full() || !channel.ahead.is_empty())
    }

    /// Reads a stream once and passes on all that came.
    pub fn read(&mut self, stream: Stream, poll: &Poll, buffers: &mut Buffers) -> Reading {
        let lines = buffers.for_lines();
        let reading = self.fill(stream, poll);
        if reading == Reading::Ended {
            self.end(stream, poll, lines);
            return reading;
        }
        let stamp = Stamp::now();
        self.pass_on(stream, lines, &stamp, ReadAhead::take_all);
        self.write_log(lines, &stamp);
        reading
    }

    /// Reads a stream once, for the clients too.
    fn fill(&mut self, stream: Stream, poll: &Poll) -> Reading {
        let terminal = self.terminal;
        let Some(Parts { channel, taps, .. }) = self.parts(stream) else { return Reading::Ended };
        match channel.ahead.fill(&channel.source) {
            Ok([]) => Reading::Ended,
            Ok(new) => {
                copy_to(taps, stream, new, poll);
                // A pipe that gave less than it was asked for is empty; a terminal gives what it likes.
                if channel.ahead.is_full() || channel.hangup || terminal { Reading::More } else { Reading::Empty }
            }
            Err(Errno::AGAIN) => Reading::Empty,
            // A terminal's master says EIO when nobody has the terminal open any more; other errors of a pipe or a
            // terminal mean as well that nothing will come.
            Err(_) => Reading::Ended,
        }
    }

    /// Makes lines of the bytes that `take` takes of a stream's. They are written when there are many.
    fn pass_on(
        &mut self,
        stream: Stream,
        lines: &mut Vec<u8>,
        stamp: &Stamp,
        take: impl FnOnce(&mut ReadAhead) -> &[u8],
    ) {
        let Some(Parts { channel, log, .. }) = self.parts(stream) else { return };
        let mut bytes = take(&mut channel.ahead);
        let Some(log) = log else { return };
        while !bytes.is_empty() {
            let made = channel.lines.push(bytes, stamp, lines, LOG_WRITE_BYTES);
            bytes = &bytes[made..];
            if lines.len() >= LOG_WRITE_BYTES {
                log.write(lines, stamp);
                lines.clear();
            }
        }
    }

    fn write_log(&mut self, lines: &mut Vec<u8>, stamp: &Stamp) {
        if let Some(log) = self.log.as_mut().filter(|_| !lines.is_empty()) {
            log.write(lines, stamp);
        }
        lines.clear();
    }

    /// Closes one stream: what is left of it is written, and the clients see the end.
    fn end(&mut self, stream: Stream, poll: &Poll, lines: &mut Vec<u8>) {
        let stamp = Stamp::now();
        self.pass_on(stream, lines, &stamp, ReadAhead::take_all);
        let channel = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        if let Some(mut channel) = channel {
            poll.remove(&channel.source);
            channel.lines.finish(&stamp, lines);
            self.write_log(lines, &stamp);
        }
        drop_taps(&mut self.taps, poll, |tap| tap.stream == stream);
        if self.is_closed()
            && let Some(log) = self.log.as_mut()
        {
            log.finish(&stamp);
        }
    }

    /// Closes both streams, whatever may still come.
    pub fn close(&mut self, poll: &Poll, buffers: &mut Buffers) {
        for stream in Stream::BOTH {
            if self.channel(stream).is_some() {
                self.end(stream, poll, buffers.for_lines());
            }
        }
    }

    /// Gives memory back that is not in use.
    pub fn release(&mut self) {
        for channel in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            if channel.ahead.is_empty() {
                channel.ahead = ReadAhead::default();
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
        drop_taps(&mut self.taps, poll, |tap| tap.client == client);
    }
}

fn drop_taps(taps: &mut Vec<Tap>, poll: &Poll, which: impl Fn(&Tap) -> bool) {
    taps.retain(|tap| {
        let dropped = which(tap);
        if dropped {
            poll.remove(&tap.pipe);
        }
        !dropped
    });
}

fn copy_to(taps: &mut Vec<Tap>, stream: Stream, bytes: &[u8], poll: &Poll) {
    let mut gone = Vec::new();
    for tap in taps.iter().filter(|tap| tap.stream == stream) {
        // Less than all means that the pipe is full: this client lags too far behind to see a whole output.
        match rustix::io::retry_on_intr(|| rustix::io::write(&tap.pipe, bytes)) {
            Ok(count) if count == bytes.len() => {}
            Ok(_) | Err(_) => gone.push(tap.client),
        }
    }
    if !gone.is_empty() {
        drop_taps(taps, poll, |tap| gone.contains(&tap.client));
    }
}

#[cfg(test)]
mod tests;
