//! What containers write: read in the order of their writes, in turns, and to its end.

use std::os::fd::RawFd;

use crate::act::start::Start;
use crate::buffers::Buffers;
use crate::container::Container;
use crate::container_state::Event as Happened;
use crate::deadlines::Due;
use crate::limits::{
    DRAIN_DEADLINE, DRAIN_READS_IN_A_ROW, LOG_LOST_INTERVAL, LOOKS_FOR_A_WRITE, WRITE_ROUNDS_IN_A_ROW,
    WRITES_PENDING_MAX,
};
use crate::log_line::Stream;
use crate::output::{Output, Reading};
use crate::poll::Poll;
use crate::protocol::Event;
use crate::shim::Shim;

impl Shim {
    /// Passes on what was written to pipes, in the order of the writes. What was read and belongs to no write that is told
    /// (a write of several lines) follows when there are no more.
    pub(crate) fn take_writes(&mut self) {
        let mut writes = std::mem::take(&mut self.buffers.writes);
        let (mut rounds, mut looks) = (0, 0);
        self.take_writes_again = true;
        while rounds < WRITE_ROUNDS_IN_A_ROW {
            self.gather_writes(&mut writes);
            if !writes.is_empty() {
                self.pass_on(&writes);
                rounds += 1;
            } else if looks < LOOKS_FOR_A_WRITE && self.is_behind() {
                looks += 1;
            } else {
                self.read_on(|container, stream| container.output.is_behind(stream));
                self.take_writes_again = false;
                break;
            }
        }
        self.buffers.writes = writes;
    }

    /// Takes what is told of writes. A write that has to wait for room is told twice, so as long as a pipe is filling, more
    /// is awaited: its writer either stops or waits, and then both times are among what was taken before the pipe is read.
    fn gather_writes(&mut self, writes: &mut Vec<RawFd>) {
        writes.clear();
        loop {
            let before = writes.len();
            match self.writes.drain(writes, WRITES_PENDING_MAX) {
                Ok(false) => {}
                Ok(true) => self.read_on(|_, _| true),
                Err(errno) => self.complain("reading signals", &std::io::Error::from(errno)),
            }
            let is_filling = |container: &Container| container.output.is_filling();
            if writes.len() == before || !self.containers.iter().any(is_filling) {
                return;
            }
        }
    }

    fn pass_on(&mut self, writes: &[RawFd]) {
        // A program that writes was started; that may not have been looked at yet.
        let started = self.starts.iter().filter(|start| start.reads_from(writes)).map(Start::number);
        for number in started.collect::<Vec<_>>() {
            self.advance_start(number);
        }
        let writers = self.containers.iter().filter(|container| {
            Stream::BOTH
                .iter()
                .any(|stream| container.output.pipe_of(*stream).is_some_and(|pipe| writes.contains(&pipe)))
        });
        for number in writers.map(|container| container.number).collect::<Vec<_>>() {
            self.with_output(number, |output, poll, buffers| output.take(writes, poll, buffers));
        }
    }

    fn is_behind(&self) -> bool {
        self.containers.iter().any(|container| Stream::BOTH.iter().any(|stream| container.output.is_behind(*stream)))
    }

    /// Has these outputs read in turns until they are empty.
    fn read_on(&mut self, which: impl Fn(&Container, Stream) -> bool) {
        for container in &self.containers {
            for stream in Stream::BOTH {
                if which(container, stream) && !self.unread.contains(&(container.number, stream)) {
                    self.unread.push_back((container.number, stream));
                }
            }
        }
    }

    /// Reads the output of a container that has just been entered: the kernel may have told of writes, without saying
    /// whose, when nobody knew it yet.
    pub(crate) fn read_first_output(&mut self, number: u32) {
        self.take_writes_again = true;
        self.read_on(|container, _| container.number == number);
    }

    /// Reads an output once.
    pub(crate) fn read_output(&mut self, number: u32, stream: Stream) -> Reading {
        let read = self.with_output(number, |output, poll, buffers| output.read(stream, poll, buffers));
        let reading = read.unwrap_or(Reading::Ended);
        if reading == Reading::More && !self.unread.contains(&(number, stream)) {
            self.unread.push_back((number, stream));
        }
        reading
    }

    /// Does something with an output, and what follows from it.
    fn with_output<T>(&mut self, number: u32, act: impl FnOnce(&mut Output, &Poll, &mut Buffers) -> T) -> Option<T> {
        let index = self.container_index(number)?;
        let output = &mut self.containers[index].output;
        let was_closed = output.is_closed();
        let done = act(output, &self.poll, &mut self.buffers);
        let is_closed = output.is_closed();
        let lost = output.log().is_some_and(|log| log.has_lost());
        if lost && !self.deadlines.is_set(Due::TellLogLost(number)) {
            self.tell_log_lost(number);
        }
        if is_closed && !was_closed {
            self.container_event(number, Happened::OutputClosed);
        }
        Some(done)
    }

    /// Reads what a dead container's output still holds.
    pub(crate) fn drain(&mut self, number: u32) {
        self.take_writes();
        for stream in Stream::BOTH {
            let mut reads = 0;
            while self.read_output(number, stream) == Reading::More && reads < DRAIN_READS_IN_A_ROW {
                reads += 1;
            }
        }
        let Some(index) = self.container_index(number) else { return };
        if !self.containers[index].state.is_told() {
            self.deadlines.set(Due::EndContainer(number), DRAIN_DEADLINE);
        }
        if self.containers[index].output.is_closed() {
            self.container_event(number, Happened::OutputClosed);
        }
    }

    /// Tells the daemon of output that its log could not take, and then not again for a while.
    pub(crate) fn tell_log_lost(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        let container = &mut self.containers[index];
        let Some((lost_bytes, error)) = container.output.log().and_then(|log| log.take_lost()) else { return };
        let container = container.id.clone();
        self.deadlines.set(Due::TellLogLost(number), LOG_LOST_INTERVAL);
        self.tell(Event::LogLost { container, lost_bytes, error });
    }

    pub(crate) fn close_output(&mut self, number: u32) {
        let Some(index) = self.container_index(number) else { return };
        self.containers[index].output.close(&self.poll, &mut self.buffers);
        self.unread.retain(|(other, _)| *other != number);
    }
}
