//! The parent's side of a start: one clone3, and then waiting for what the child tells.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use super::child::Child;
use super::error::StartError;
use super::line::{self, Failure, Line, Message};
use super::{Stdio, error};
use crate::cgroup::Cgroup;
use crate::limits::{KILL_DEADLINE, START_DEADLINE};
use crate::plan::{Namespaces, Step};
use crate::pod::PodNamespaces;
use crate::procfs::Procfs;

/// What is started, and where.
pub(super) struct Launch<'a> {
    pub steps: &'a [Step],
    pub cgroup: &'a Cgroup,
    /// The namespaces that are new from the first moment.
    pub new: NewNamespaces,
    /// A PID namespace to be born into: a namespace, or a pidfd of one of its processes.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    pub entering: Entering<'a>,
    /// In the places of the steps: the mapping of a mount's ids.
    pub mappings: &'a [Option<OwnedFd>],
}

/// How the child gets to the namespaces that are not new.
pub(super) enum Entering<'a> {
    Container { namespaces: &'a Namespaces, pod: &'a PodNamespaces },
    /// Those of this process.
    Exec { container: BorrowedFd<'a> },
}

/// A process that has executed its program.
pub(super) struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub terminal_master: Option<OwnedFd>,
}

/// Starts it; returns when the program runs, or when nothing of the child is left.
pub(super) fn launch(launch: &Launch<'_>, stdio: Stdio, single: &SingleThreaded) -> Result<Launched, StartError> {
    let deadline = Instant::now() + START_DEADLINE;
    let opened = |source| StartError::OpenCgroup { source };
    let directory = launch.cgroup.directory().map_err(opened)?;
    let memberships = launch.cgroup.attach_fds().map_err(opened)?;
    let procfs = Procfs::open_host().map_err(|error| StartError::io("opening /proc", &error))?;
    let (ours, theirs) = line::open().map_err(|errno| StartError::kernel("making a socket pair", errno))?;
    let cloned = born_into(launch.pid_namespace, &procfs, single, || {
        process::clone(launch.new, directory.as_ref().map(AsFd::as_fd), single)
    })?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            Child::new(launch, procfs, &theirs, single).run(stdio, &memberships)
        }
        Cloned::Parent { pid, pidfd } => {
            // Their copies here would keep the line open, and the ends of the pipes.
            drop((theirs, stdio));
            match wait(&ours, &pidfd, launch.steps, deadline) {
                Ok(terminal_master) => Ok(Launched { pid, pidfd, terminal_master }),
                Err(error) => {
                    kill(&pidfd);
                    Err(error)
                }
            }
        }
    }
}

/// Runs `clone` such that its child is in the PID namespace `namespace`; the shim's own children are in its own again
/// afterwards.
fn born_into(
    namespace: Option<BorrowedFd<'_>>,
    procfs: &Procfs,
    single: &SingleThreaded,
    clone: impl FnOnce() -> Result<Cloned, Errno>,
) -> Result<Cloned, StartError> {
    let making = |errno| StartError::kernel("making a process", errno);
    let Some(namespace) = namespace else { return clone().map_err(making) };
    let own = procfs.own_namespace("pid").map_err(|error| StartError::io("opening the shim's PID namespace", &error))?;
    namespace::enter(namespace, Kinds::PROCESS_ID, single).map_err(|errno| match errno {
        Errno::SRCH => StartError::Exited,
        errno => StartError::kernel("entering the PID namespace", errno),
    })?;
    let cloned = clone();
    if let Ok(Cloned::Child) = cloned {
        return Ok(Cloned::Child);
    }
    let restored = namespace::enter(own.as_fd(), Kinds::PROCESS_ID, single);
    match (cloned, restored) {
        (Ok(Cloned::Parent { pidfd, .. }), Err(errno)) => {
            kill(&pidfd);
            Err(StartError::kernel("returning to the shim's PID namespace", errno))
        }
        (cloned, _) => cloned.map_err(making),
    }
}

/// Waits for execve; the master of the child's terminal, if it has one.
fn wait(line: &Line, pidfd: &OwnedFd, steps: &[Step], deadline: Instant) -> Result<Option<OwnedFd>, StartError> {
    let (mut terminal, mut ready) = (None, false);
    loop {
        match line.receive(deadline) {
            Ok(Message::Terminal(master)) => terminal = Some(master),
            Ok(Message::Ready) => ready = true,
            Ok(Message::Failed(failure)) => return Err(failed(failure, steps)),
            Ok(Message::End) if ready => return Ok(terminal),
            Ok(Message::End) => return Err(died(pidfd)),
            Err(Errno::TIMEDOUT) => return Err(StartError::Deadline),
            Err(Errno::CONNRESET) => return Err(died(pidfd)),
            Err(errno) => return Err(StartError::kernel("waiting for the process", errno)),
        }
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
    let doing = if detail.is_empty() { doing } else { format!("{doing}: {detail}") };
    match errno {
        0 => StartError::Step { doing },
        number => StartError::Kernel { doing, source: error::Reason::from(Errno::from_raw_os_error(number)) },
    }
}

/// The child is dead, or about to be, and has not said why.
fn died(pidfd: &OwnedFd) -> StartError {
    let status = is_dead_within(pidfd, KILL_DEADLINE)
        .then(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    let status: Option<WaitIdStatus> = status.and_then(Result::ok).flatten();
    match status.and_then(|status| status.terminating_signal()) {
        Some(signal) => StartError::Killed { signal },
        None => StartError::Ended { code: status.and_then(|status| status.exit_status()).unwrap_or(-1) },
    }
}

/// Kills a child and reaps it. One that does not die in time (it sits in a system call that cannot be interrupted) is
/// left to the shim, which reaps every child.
fn kill(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    if is_dead_within(pidfd, KILL_DEADLINE) {
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn is_dead_within(pidfd: &OwnedFd, time: std::time::Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) == Ok(1)
}

/// Opens a namespace, a file as `/proc/123/ns/net`.
pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
