//! A child between clone3 and execve, for a caller that has other things to do than to wait for it: a child may hang as
//! long as a file system that it mounts from does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::Started;
use super::error::StartError;
use super::failure::StepError;
use super::launch::{is_dead_within, kill};
use super::line::{Failure, Line, Message};
use crate::cgroup::Cgroup;
use crate::limits::{KILL_DEADLINE, START_DEADLINE};
use crate::plan::Step;

/// A child on its way to execve.
///
/// The caller waits until [`Starting::line`] can be read, and calls [`Starting::advance`], until the program runs. If it
/// will not, the caller kills the child, reaps it, and then clears and removes the control group.
#[derive(Debug)]
pub struct Starting {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) line: Line,
    pub(super) cgroup: Cgroup,
    terminal_master: Option<OwnedFd>,
    is_ready: bool,
    /// The child that the present one has succeeded; it ends.
    predecessor: Option<OwnedFd>,
}

/// How far a child has come.
#[derive(Debug)]
pub enum Progress {
    /// It is still busy.
    Underway,
    /// Its program runs.
    Runs,
    /// It has told what failed, and ends.
    Failed(StartError),
    /// It is dead, or about to be, without a word: [`died_by`] and [`ended_with`] say it in words once it is reaped.
    Dead,
}

/// A signal ended the child before its program ran.
pub fn died_by(signal: i32) -> StartError {
    StartError::Killed { signal }
}

/// The child ended itself before its program ran.
pub fn ended_with(code: i32) -> StartError {
    StartError::Ended { code }
}

impl Starting {
    pub(super) fn new(pid: i32, pidfd: OwnedFd, line: Line, cgroup: Cgroup) -> Self {
        Starting { pid, pidfd, line, cgroup, terminal_master: None, is_ready: false, predecessor: None }
    }

    /// Changes while [`Starting::advance`] is called, at most once: a child that enters a user namespace is succeeded by
    /// another one. The caller, who reaps every child, reaps both.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Becomes readable when [`Starting::advance`] has something to take.
    pub fn line(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    /// Takes what the child has told so far, without waiting. `steps` are those of its plan.
    pub fn advance(&mut self, steps: &[Step]) -> Progress {
        loop {
            match self.line.receive() {
                Ok(None) => return Progress::Underway,
                Ok(Some(Message::Successor { pid, pidfd })) => {
                    self.pid = pid;
                    self.predecessor = Some(std::mem::replace(&mut self.pidfd, pidfd));
                }
                Ok(Some(Message::Terminal(master))) => self.terminal_master = Some(master),
                Ok(Some(Message::Ready)) => self.is_ready = true,
                Ok(Some(Message::Failed(failure))) => return Progress::Failed(failed(failure, steps)),
                Ok(Some(Message::End)) if self.is_ready => return Progress::Runs,
                Ok(Some(Message::End)) | Err(Errno::CONNRESET) => return Progress::Dead,
                Err(errno) => return Progress::Failed(StartError::kernel("waiting for the process", errno)),
            }
        }
    }

    /// The process, once its program runs.
    pub fn into_started(self) -> Started {
        let Starting { pid, pidfd, cgroup, terminal_master, .. } = self;
        Started { pid, pidfd, terminal_master, cgroup }
    }

    /// Waits until the program runs, or until nothing of the child is left.
    pub(super) fn wait(mut self, steps: &[Step]) -> Result<Started, StartError> {
        let deadline = Instant::now() + START_DEADLINE;
        let error = loop {
            match self.advance(steps) {
                Progress::Runs => {
                    self.predecessor.take().as_ref().map(kill);
                    return Ok(self.into_started());
                }
                Progress::Failed(error) => break error,
                Progress::Dead => break died(&self.pidfd),
                Progress::Underway => match self.line.wait(deadline) {
                    Ok(()) => {}
                    Err(Errno::TIMEDOUT) => break StartError::Deadline,
                    Err(errno) => break StartError::kernel("waiting for the process", errno),
                },
            }
        };
        self.predecessor.take().as_ref().map(kill);
        kill(&self.pidfd);
        // The reason for the failure is what matters; a group that cannot be removed now is removed with the
        // container's, or the pod's.
        let _ = self.cgroup.remove();
        Err(error)
    }
}

fn failed(failure: Failure, steps: &[Step]) -> StartError {
    let Failure { step, errno, detail } = failure;
    let doing = match step.and_then(|place| steps.get(usize::from(place))) {
        Some(Step::FindProgram { .. } | Step::Execute { .. }) if errno == 0 => {
            return StartError::Program { message: detail };
        }
        // The environment is nobody's business but the program's.
        Some(Step::Execute { .. }) => "execute the program".to_owned(),
        Some(step) => step.to_string(),
        None => "prepare the process".to_owned(),
    };
    StartError::step(&doing, StepError { detail, errno })
}

/// The child is dead, or about to be, and has not said why.
fn died(pidfd: &OwnedFd) -> StartError {
    let status = is_dead_within(pidfd, KILL_DEADLINE)
        .then(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    let status: Option<WaitIdStatus> = status.and_then(Result::ok).flatten();
    match status.and_then(|status| status.terminating_signal()) {
        Some(signal) => died_by(signal),
        None => ended_with(status.and_then(|status| status.exit_status()).unwrap_or(-1)),
    }
}
