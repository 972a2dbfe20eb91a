//! The event loop's one system call: which descriptor is ready, and what it is.
//!
//! What a token names may be gone by the time its event is handled; numbers are never used twice, so such an event finds
//! nothing and is dropped.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::log_line::Stream;

/// Events taken at a time.
const EVENTS: usize = 32;

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Where daemons connect.
    Listener,
    /// The connection to the daemon.
    Daemon,
    /// A connection that has not said hello yet.
    Newcomer,
    /// The deaths of children.
    Children,
    /// Writes to the pipes of containers.
    Writes,
    /// An output of the container with this number.
    Output(u32, Stream),
    /// The pipe to a client that attached, by its own number.
    Tap(u32),
    /// A connection being made into the pod.
    Dial(u32),
    /// What a process that is being started tells.
    Start(u32),
    /// The control group of the container with this number, whose processes were killed.
    Group(u32),
}

impl Source {
    fn token(self) -> u64 {
        let (kind, number) = match self {
            Source::Listener => (0, 0),
            Source::Daemon => (1, 0),
            Source::Children => (2, 0),
            Source::Output(number, Stream::Stdout) => (3, number),
            Source::Output(number, Stream::Stderr) => (4, number),
            Source::Tap(number) => (5, number),
            Source::Dial(number) => (6, number),
            Source::Start(number) => (7, number),
            Source::Newcomer => (8, 0),
            Source::Group(number) => (9, number),
            Source::Writes => (10, 0),
        };
        (kind << 32) | u64::from(number)
    }

    fn from_token(token: u64) -> Option<Self> {
        let number = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        Some(match token >> 32 {
            0 => Source::Listener,
            1 => Source::Daemon,
            2 => Source::Children,
            3 => Source::Output(number, Stream::Stdout),
            4 => Source::Output(number, Stream::Stderr),
            5 => Source::Tap(number),
            6 => Source::Dial(number),
            7 => Source::Start(number),
            8 => Source::Newcomer,
            9 => Source::Group(number),
            10 => Source::Writes,
            _ => return None,
        })
    }
}

/// When a descriptor is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// While something can be read.
    Readable,
    /// While something can be written.
    Writable,
    /// Once for each arrival. The kernel hands these out in the order of the arrivals.
    Arrivals,
    /// Once, when the peer is gone, or nobody has the other end open.
    Hangup,
    /// Once for each time that a file of the kernel changes.
    Changes,
}

/// A descriptor that is ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub source: Source,
    /// The other end is closed, or the descriptor is in error.
    pub hangup: bool,
}

/// The set of descriptors.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    pub fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Poll)
    }

    pub fn add(&self, descriptor: impl AsFd, source: Source, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.0, descriptor, EventData::new_u64(source.token()), flags(interest))
    }

    pub fn modify(&self, descriptor: impl AsFd, source: Source, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.0, descriptor, EventData::new_u64(source.token()), flags(interest))
    }

    /// Takes a descriptor out. Closing it is not enough where another process holds it too. One that is not in the set
    /// is no error.
    pub fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.0, descriptor);
    }

    /// Waits until something is ready, or for `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Batch, Errno> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let none = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut batch = Batch { events: [none; EVENTS], count: 0 };
        batch.count = match epoll::wait(&self.0, &mut batch.events, timeout.as_ref()) {
            Err(Errno::INTR) => 0,
            other => other?,
        };
        Ok(batch)
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Readable => EventFlags::IN,
        Interest::Writable => EventFlags::OUT,
        Interest::Arrivals => EventFlags::IN | EventFlags::ET,
        Interest::Hangup => EventFlags::ET,
        Interest::Changes => EventFlags::PRI | EventFlags::ET,
    }
}

/// What one wait has found.
pub struct Batch {
    events: [Event; EVENTS],
    count: usize,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events[..self.count].iter().filter_map(|event| {
            let Event { flags, data } = *event;
            let hangup = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Source::from_token(data.u64()).map(|source| Ready { source, hangup })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_found_again_from_its_token() {
        for source in [
            Source::Listener,
            Source::Daemon,
            Source::Children,
            Source::Writes,
            Source::Output(7, Stream::Stdout),
            Source::Output(u32::MAX, Stream::Stderr),
            Source::Tap(1),
            Source::Dial(2),
            Source::Start(3),
            Source::Group(4),
        ] {
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
        assert_eq!(Source::from_token(u64::MAX), None);
    }

    #[test]
    fn arrivals_come_in_their_order_and_once() {
        let poll = Poll::new().unwrap();
        let (one, one_in) = rustix::pipe::pipe().unwrap();
        let (two, two_in) = rustix::pipe::pipe().unwrap();
        poll.add(&one, Source::Output(1, Stream::Stdout), Interest::Arrivals).unwrap();
        poll.add(&two, Source::Output(1, Stream::Stderr), Interest::Arrivals).unwrap();
        let order =
            || -> Vec<Source> { poll.wait(Some(Duration::ZERO)).unwrap().iter().map(|ready| ready.source).collect() };
        for _ in 0..3 {
            rustix::io::write(&two_in, b"x").unwrap();
            rustix::io::write(&one_in, b"x").unwrap();
            assert_eq!(order(), [Source::Output(1, Stream::Stderr), Source::Output(1, Stream::Stdout)]);
            assert_eq!(order(), []);
        }
        drop(one_in);
        assert!(poll.wait(Some(Duration::ZERO)).unwrap().iter().all(|ready| ready.hangup));
    }
}
