//! The event loop: what is ready is handed to those who deal with it, one after the other, in one thread.
//!
//! A turn of the loop takes what has arrived in the order of its arrival, then goes on with what one read did not
//! exhaust, then does what is due. Nothing in it waits for anything but the kernel's own work.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Instant;

use cradle_domain::PodId;
use cradle_executor::pod::PodNamespaces;
use cradle_sys::SingleThreaded;
use cradle_sys::signals::ChildSignals;
use cradle_sys::writes::WriteSignals;
use rustix::io::Errno;

use crate::act::dial::Dial;
use crate::act::start::Start;
use crate::buffers::Buffers;
use crate::connection::{Connection, Waiter};
use crate::container::{Container, Exec};
use crate::deadlines::{Deadlines, Due};
use crate::journal::Journal;
use crate::limits::BUFFERS_IDLE;
use crate::log_line::Stream;
use crate::poll::{Interest, Poll, Ready, Source};
use crate::{container_state, exec_state};

/// What a shim starts with.
#[derive(Debug)]
pub struct Parts {
    pub pod: PodId,
    /// The shim's own folder.
    pub directory: OwnedFd,
    /// Where daemons connect; does not block.
    pub listener: OwnedFd,
    /// The first connection; does not block.
    pub connection: OwnedFd,
    pub children: ChildSignals,
    pub writes: WriteSignals,
    pub journal: Journal,
    pub single: SingleThreaded,
}

/// The pod's namespaces.
#[derive(Debug)]
pub(crate) enum Namespaces {
    NotYet,
    Made(PodNamespaces),
    /// Some were made, and this process is in them for good: it is of no more use.
    Failed,
}

/// A shim: all of its state.
#[derive(Debug)]
pub struct Shim {
    pub(crate) pod: PodId,
    pub(crate) directory: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) children: ChildSignals,
    pub(crate) writes: WriteSignals,
    pub(crate) journal: Journal,
    pub(crate) single: SingleThreaded,
    pub(crate) poll: Poll,
    pub(crate) connection: Option<Connection>,
    /// A connection that has not said hello yet.
    pub(crate) newcomer: Option<OwnedFd>,
    /// It was told that connections of other users are refused.
    pub(crate) strangers_told: bool,
    pub(crate) namespaces: Namespaces,
    /// Processes on their way to their program.
    pub(crate) starts: Vec<Start>,
    pub(crate) containers: Vec<Container>,
    pub(crate) execs: Vec<Exec>,
    pub(crate) dials: Vec<Dial>,
    pub(crate) deadlines: Deadlines,
    pub(crate) buffers: Buffers,
    /// Outputs that one read did not exhaust.
    pub(crate) unread: VecDeque<(u32, Stream)>,
    /// There may be more writes than were taken in a row.
    pub(crate) take_writes_again: bool,
    /// More children may be dead than were reaped in a row.
    pub(crate) reap_again: bool,
    /// The shutdown that is under way.
    pub(crate) shutdown: Option<Waiter>,
    /// The last answer was given.
    pub(crate) finished: bool,
    last_number: u32,
}

impl Shim {
    /// A shim that serves its first connection.
    pub fn new(parts: Parts) -> Result<Self, Errno> {
        let poll = Poll::new()?;
        poll.add(&parts.listener, Source::Listener, Interest::Readable)?;
        poll.add(&parts.children, Source::Children, Interest::Readable)?;
        poll.add(&parts.writes, Source::Writes, Interest::Readable)?;
        let mut shim = Shim {
            pod: parts.pod,
            directory: parts.directory,
            listener: parts.listener,
            children: parts.children,
            writes: parts.writes,
            journal: parts.journal,
            single: parts.single,
            poll,
            connection: None,
            newcomer: None,
            strangers_told: false,
            namespaces: Namespaces::NotYet,
            starts: Vec::new(),
            containers: Vec::new(),
            execs: Vec::new(),
            dials: Vec::new(),
            deadlines: Deadlines::default(),
            buffers: Buffers::default(),
            unread: VecDeque::new(),
            take_writes_again: false,
            reap_again: false,
            shutdown: None,
            finished: false,
            last_number: 0,
        };
        let _number = shim.take_connection(parts.connection);
        Ok(shim)
    }

    /// A number that nothing in this shim had before. After 4 billion of them they begin anew, which no pod reaches.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    pub(crate) fn container_index(&self, number: u32) -> Option<usize> {
        self.containers.iter().position(|container| container.number == number)
    }

    pub(crate) fn exec_index(&self, number: u32) -> Option<usize> {
        self.execs.iter().position(|exec| exec.number == number)
    }

    /// Serves until the pod is shut down.
    pub fn run(&mut self) -> Result<(), Errno> {
        while !self.finished {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Errno> {
        let busy = self.reap_again || self.take_writes_again || !self.unread.is_empty();
        let now = Instant::now();
        let timeout = match (busy, self.deadlines.next(now), self.buffers.are_held()) {
            (true, _, _) => Some(std::time::Duration::ZERO),
            (false, next, false) => next,
            (false, next, true) => Some(next.map_or(BUFFERS_IDLE, |next| next.min(BUFFERS_IDLE))),
        };
        let batch = self.poll.wait(timeout)?;
        if batch.is_empty() && !busy && self.buffers.are_held() {
            self.containers.iter_mut().for_each(|container| container.output.release());
            self.buffers.release();
        }
        for ready in batch.iter() {
            self.handle(ready);
        }
        if self.take_writes_again {
            self.take_writes();
        }
        for _ in 0..self.unread.len() {
            if let Some((container, stream)) = self.unread.pop_front() {
                self.read_output(container, stream);
            }
        }
        if self.reap_again {
            self.reap();
        }
        let now = Instant::now();
        while let Some(due) = self.deadlines.take(now) {
            self.on_due(due);
        }
        Ok(())
    }

    fn handle(&mut self, ready: Ready) {
        match ready.source {
            Source::Listener => self.accept(),
            Source::Newcomer => self.hear_newcomer(),
            Source::Daemon => self.serve_connection(),
            Source::Children => {
                if let Err(error) = self.children.drain() {
                    self.complain("reading signals", &error);
                }
                self.reap();
            }
            Source::Writes => self.take_writes(),
            Source::Output(container, stream) => {
                if ready.hangup
                    && let Some(index) = self.container_index(container)
                {
                    self.containers[index].output.note_hangup(stream);
                    self.take_writes();
                }
                self.read_output(container, stream);
            }
            Source::Tap(number) => {
                let poll = &self.poll;
                let _found = self.containers.iter_mut().any(|container| container.output.untap(number, poll));
            }
            Source::Dial(number) => self.on_dial(number),
            Source::Start(number) => self.advance_start(number),
            Source::Group(number) => self.container_event(number, container_state::Event::RetryDue),
        }
    }

    fn on_due(&mut self, due: Due) {
        match due {
            Due::KillContainer(number) => self.container_event(number, container_state::Event::RetryDue),
            Due::EndContainer(number) => self.container_event(number, container_state::Event::Overdue),
            Due::TellLogLost(number) => self.tell_log_lost(number),
            Due::TimeOutExec(number) => self.exec_event(number, exec_state::Event::TimedOut),
            Due::KillExec(number) => self.exec_event(number, exec_state::Event::RetryDue),
            Due::EndExec(number) => self.exec_event(number, exec_state::Event::Overdue),
            Due::EndStart(number) => self.end_start(number),
            Due::GiveUpDial(number) => self.give_up_dial(number),
            Due::GiveUpShutdown => self.give_up_shutdown(),
            Due::Accept => self.listen_again(),
        }
    }
}
