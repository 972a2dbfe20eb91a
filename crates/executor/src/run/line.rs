//! What a child tells its parent on the way to execve, over a socket pair that closes on execve.
//!
//! The child sends at most one successor and one terminal, then either one failure, or that it is ready and, if execve fails, one failure.
//! The end of the line after "ready" means that the program runs; without it, that the child was killed.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::limits::FAILURE_DETAIL_MAX_BYTES;

/// Why a child did not come to execve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The step's place in the plan; none: before the first.
    pub step: Option<u16>,
    /// 0: the detail says it all.
    pub errno: i32,
    pub detail: String,
}

#[derive(Debug)]
pub(crate) enum Message {
    /// From now on the child is this process, by its number among the parent's processes.
    Successor {
        pid: i32,
        pidfd: OwnedFd,
    },
    /// The master of the terminal that the child has opened.
    Terminal(OwnedFd),
    /// All steps are done, execve comes next.
    Ready,
    Failed(Failure),
    /// The child has executed its program, or is dead.
    End,
}

const SUCCESSOR: u8 = b'S';
const TERMINAL: u8 = b'T';
const READY: u8 = b'R';
const FAILED: u8 = b'F';
/// Stands for "no step" on the line.
const NO_STEP: u16 = u16::MAX;

/// One end.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

/// Both ends: the parent's and the child's.
pub(crate) fn open() -> Result<(Line, Line)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Line(ours), Line(theirs)))
}

impl Line {
    /// The parent is gone, or does not wait any more.
    pub(crate) fn is_cut(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_err() || fds[0].revents().contains(PollFlags::HUP)
    }

    pub(super) fn send_terminal(&self, master: &OwnedFd) -> Result<()> {
        self.send_with(&[TERMINAL], master)
    }

    pub(super) fn send_successor(&self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        let [a, b, c, d] = pid.to_le_bytes();
        self.send_with(&[SUCCESSOR, a, b, c, d], pidfd)
    }

    fn send_with(&self, message: &[u8], descriptor: &OwnedFd) -> Result<()> {
        let fds = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// By write(2), which every system call filter allows.
    pub(crate) fn send_ready(&self) -> Result<()> {
        rustix::io::write(&self.0, &[READY]).map(drop)
    }

    /// Tells a failure; nobody can be told when that fails.
    pub(super) fn send_failure(&self, failure: &Failure) {
        let mut message = vec![FAILED];
        message.extend(failure.step.unwrap_or(NO_STEP).to_le_bytes());
        message.extend(failure.errno.to_le_bytes());
        let detail = failure.detail.as_bytes();
        message.extend(&detail[..detail.len().min(FAILURE_DETAIL_MAX_BYTES)]);
        let _ = rustix::io::write(&self.0, &message);
    }

    /// The next message, if it has arrived.
    pub(super) fn receive(&self) -> Result<Option<Message>> {
        match self.receive_as(RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Waits for the next message.
    pub(crate) fn next(&self) -> Result<Message> {
        rustix::io::retry_on_intr(|| self.receive_as(RecvFlags::empty()))
    }

    fn receive_as(&self, flags: RecvFlags) -> Result<Message> {
        let mut bytes = [0; FAILURE_DETAIL_MAX_BYTES + 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?.bytes;
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match (&bytes[..received], fd) {
            ([], _) => Ok(Message::End),
            ([READY], _) => Ok(Message::Ready),
            ([TERMINAL], Some(master)) => Ok(Message::Terminal(master)),
            ([SUCCESSOR, a, b, c, d], Some(pidfd)) => {
                Ok(Message::Successor { pid: i32::from_le_bytes([*a, *b, *c, *d]), pidfd })
            }
            ([FAILED, step_low, step_high, a, b, c, d, detail @ ..], _) => {
                let step = u16::from_le_bytes([*step_low, *step_high]);
                Ok(Message::Failed(Failure {
                    step: (step != NO_STEP).then_some(step),
                    errno: i32::from_le_bytes([*a, *b, *c, *d]),
                    detail: String::from_utf8_lossy(detail).into_owned(),
                }))
            }
            _ => Err(Errno::BADMSG),
        }
    }

    /// Waits for a message; `TIMEDOUT` when there is none until `deadline`.
    pub(super) fn wait(&self, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn next(line: &Line) -> Message {
        line.wait(Instant::now() + Duration::from_secs(5)).unwrap();
        line.receive().unwrap().expect("a message")
    }

    #[test]
    fn a_successor_is_told_by_number_and_descriptor() {
        let (ours, theirs) = open().unwrap();
        let (_, descriptor) = rustix::pipe::pipe().unwrap();
        theirs.send_successor(70_000, &descriptor).unwrap();
        assert!(matches!(ours.next().unwrap(), Message::Successor { pid: 70_000, .. }));
    }

    #[test]
    fn what_one_end_sends_the_other_receives_in_order() {
        let (ours, theirs) = open().unwrap();
        let (_, writer) = rustix::pipe::pipe().unwrap();
        let failure = Failure { step: Some(3), errno: 2, detail: "bind source /x".into() };
        let early = Failure { step: None, errno: 0, detail: String::new() };
        theirs.send_terminal(&writer).unwrap();
        theirs.send_ready().unwrap();
        theirs.send_failure(&failure);
        theirs.send_failure(&early);
        drop(theirs);
        assert!(matches!(next(&ours), Message::Terminal(_)));
        assert!(matches!(next(&ours), Message::Ready));
        assert!(matches!(next(&ours), Message::Failed(received) if received == failure));
        assert!(matches!(next(&ours), Message::Failed(received) if received == early));
        assert!(matches!(next(&ours), Message::End));
    }

    #[test]
    fn silence_ends_at_the_deadline_and_a_dropped_end_is_a_cut_line() {
        let (ours, theirs) = open().unwrap();
        assert!(ours.receive().unwrap().is_none());
        assert_eq!(ours.wait(Instant::now()).unwrap_err(), Errno::TIMEDOUT);
        assert!(!theirs.is_cut());
        drop(ours);
        assert!(theirs.is_cut());
    }

    #[test]
    fn a_long_detail_is_cut_and_not_lost() {
        let (ours, theirs) = open().unwrap();
        theirs.send_failure(&Failure { step: None, errno: 1, detail: "x".repeat(100_000) });
        let Message::Failed(failure) = next(&ours) else { panic!("no failure") };
        assert_eq!(failure.detail.len(), FAILURE_DETAIL_MAX_BYTES);
    }
}
