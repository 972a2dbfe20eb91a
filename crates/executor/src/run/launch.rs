//! The parent's side of a start: one clone3. What the child tells then is taken by [`super::starting`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, Cloned, IgnoredSignals, NewNamespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Stdio;
use super::child;
use super::error::StartError;
use super::idmap::Mappings;
use super::line::{self, Line};
use crate::cgroup::Entrance;
use crate::limits::KILL_DEADLINE;
use crate::plan::{Namespaces, Step};
use crate::pod::PodNamespaces;
use crate::procfs::Procfs;

/// Asked once, before the first child: the process changes none afterwards.
static IGNORED_SIGNALS: OnceLock<IgnoredSignals> = OnceLock::new();

/// What is started, and where.
pub(super) struct Launch<'a> {
    pub steps: &'a [Step],
    pub entrance: &'a Entrance,
    /// The namespaces that are new from the first moment.
    pub new: NewNamespaces,
    /// A PID namespace to be born into: a namespace, or a pidfd of one of its processes.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    /// The same two for the successor that a plan with a user namespace has.
    pub inner: NewNamespaces,
    pub inner_pid_namespace: Option<BorrowedFd<'a>>,
    pub entering: Entering<'a>,
    pub mappings: &'a Mappings<'a>,
}

/// How the child gets to the namespaces that are not new.
pub(super) enum Entering<'a> {
    Container {
        namespaces: &'a Namespaces,
        pod: &'a PodNamespaces,
    },
    /// Those of this process.
    Exec {
        container: BorrowedFd<'a>,
    },
}

/// The parent's hold on a child.
pub(super) struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub line: Line,
}

/// Makes the child, which begins with its steps. After an error there is none.
pub(super) fn launch(launch: &Launch<'_>, stdio: Stdio, single: &SingleThreaded) -> Result<Child, StartError> {
    let ignored = *IGNORED_SIGNALS.get_or_init(IgnoredSignals::of_this_process);
    let procfs = Procfs::open_host().map_err(|error| StartError::io("opening /proc", &error))?;
    let (ours, theirs) = line::open().map_err(|errno| StartError::kernel("making a socket pair", errno))?;
    let cloned = born_into(launch.pid_namespace, &procfs, single, || {
        process::clone(launch.new, launch.entrance.directory(), single)
    })?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            child::Child::new(launch, procfs, &theirs, single).run(stdio, ignored)
        }
        Cloned::Parent { pid, pidfd } => {
            // Their copies here would keep the line open, and the ends of the pipes.
            drop((theirs, stdio));
            Ok(Child { pid, pidfd, line: ours })
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
    let own =
        procfs.own_namespace("pid").map_err(|error| StartError::io("opening the shim's PID namespace", &error))?;
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

/// Kills a child and reaps it. One that does not die in time (it sits in a system call that cannot be interrupted) is
/// left to the shim, which reaps every child.
pub(crate) fn kill(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    if is_dead_within(pidfd, KILL_DEADLINE) {
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

pub(super) fn is_dead_within(pidfd: &OwnedFd, time: std::time::Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) == Ok(1)
}

/// Opens a namespace, a file as `/proc/123/ns/net`.
pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
