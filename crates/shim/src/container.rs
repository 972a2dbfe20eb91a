//! What the shim holds of one container and of one exec. What is done with them is in `act/`.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cradle_domain::{ContainerId, Timestamp};
use cradle_executor::cgroup::{Cgroup, ExecGroup};
use rustix::io::Errno;

use crate::connection::Waiter;
use crate::limits::{KILL_RETRY_FIRST, KILL_RETRY_MAX};
use crate::output::Output;
use crate::protocol::{ContainerReport, ExecId, Exit};
use crate::{container_state, exec_state};

/// A container whose first process has been started.
#[derive(Debug)]
pub struct Container {
    /// Its number within this shim; no two have the same.
    pub number: u32,
    pub id: ContainerId,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub cgroup: Cgroup,
    pub started_at: Timestamp,
    pub state: container_state::State,
    /// Since the first process died.
    pub exit: Option<Exit>,
    /// Processes of it that the kernel killed for lack of memory, as far as seen.
    pub oom_kills: u64,
    pub output: Output,
    pub stdin: Stdin,
    /// Those who wanted it killed and await its end.
    pub kills: Vec<Waiter>,
    pub retry: Retry,
    /// Tells when the last of the processes that were killed is dead.
    pub watch: Option<OwnedFd>,
    /// The group of an exec that has ended and left nobody in it: the next one's.
    pub spare_group: Option<ExecGroup>,
    /// Groups of execs that have ended, but had processes left.
    pub left_groups: VecDeque<Cgroup>,
}

impl Container {
    pub fn report(&self) -> ContainerReport {
        ContainerReport {
            container: self.id.clone(),
            pid: self.pid,
            started_at: self.started_at,
            exit: self.exit.filter(|_| self.state.is_told()),
        }
    }

    /// What a client that attaches now writes to: the stdin pipe, or the terminal.
    pub fn stdin_for_client(&mut self) -> Result<Option<OwnedFd>, Errno> {
        match (&self.stdin, self.output.terminal_master()) {
            (Stdin::Terminal, Some(master)) => rustix::io::fcntl_dupfd_cloexec(master, 3).map(Some),
            _ => self.stdin.hand_out(),
        }
    }
}

/// The writing end of a container's stdin.
#[derive(Debug)]
pub enum Stdin {
    /// The container reads end of file, or nobody may write to its terminal, or the end was given away.
    None,
    /// Each client that attaches gets a copy of the terminal's master.
    Terminal,
    /// Each client that attaches gets a copy.
    Shared(OwnedFd),
    /// The first client that attaches gets the only one, so that it closes with that client.
    Once(OwnedFd),
}

impl Stdin {
    /// The end for a client that attaches now; none: there is no stdin to write to.
    pub fn hand_out(&mut self) -> Result<Option<OwnedFd>, Errno> {
        match std::mem::replace(self, Stdin::None) {
            Stdin::None => Ok(None),
            Stdin::Terminal => {
                *self = Stdin::Terminal;
                Ok(None)
            }
            Stdin::Once(end) => Ok(Some(end)),
            Stdin::Shared(end) => {
                let copy = rustix::io::fcntl_dupfd_cloexec(&end, 3);
                *self = Stdin::Shared(end);
                copy.map(Some)
            }
        }
    }
}

/// An exec whose process has been started.
#[derive(Debug)]
pub struct Exec {
    /// Its number within this shim; no two have the same.
    pub number: u32,
    pub id: ExecId,
    pub container: ContainerId,
    pub container_number: u32,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub group: ExecGroup,
    /// The kernel kills whatever is cloned into a group that was killed once, also later (cgroup_post_fork): no other
    /// exec can have it.
    pub group_killed: bool,
    pub state: exec_state::State,
    /// Since its process died.
    pub exit: Option<Exit>,
    pub timed_out: bool,
    pub retry: Retry,
}

/// Pauses between the attempts to kill what is left of a group.
#[derive(Debug)]
pub struct Retry {
    next: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { next: KILL_RETRY_FIRST }
    }
}

impl Retry {
    /// The next pause, twice as long as the one before.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(KILL_RETRY_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut retry = Retry::default();
        assert_eq!(retry.pause(), KILL_RETRY_FIRST);
        assert_eq!(retry.pause(), KILL_RETRY_FIRST * 2);
        for _ in 0..20 {
            retry.pause();
        }
        assert_eq!(retry.pause(), KILL_RETRY_MAX);
    }

    #[test]
    fn stdin_for_one_is_handed_out_once_and_closes_with_its_holder() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut stdin = Stdin::Once(writer);
        let end = stdin.hand_out().unwrap().unwrap();
        assert!(stdin.hand_out().unwrap().is_none());
        drop(end);
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]).unwrap(), 0);

        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut stdin = Stdin::Shared(writer);
        drop(stdin.hand_out().unwrap().unwrap());
        rustix::io::write(stdin.hand_out().unwrap().unwrap(), b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 4]).unwrap(), 1);
    }
}
