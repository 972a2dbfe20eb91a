//! The first process of a PID namespace that the containers of a pod share: it reaps, and nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    DumpableBehavior, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, pidfd_open,
    pidfd_send_signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, waitid,
};
use rustix::thread::set_no_new_privs;

use super::shm;
use crate::plan::Identity;
use crate::plan::capabilities::{CapabilitySet, CapabilitySets};
use crate::run::identity;

/// The user and group of the init.
const NOBODY: u32 = 65534;

/// The init of a pod. Dropped, it is killed, and with it every process of its namespace.
#[derive(Debug)]
pub(super) struct PodInit {
    pidfd: OwnedFd,
}

impl PodInit {
    /// Starts it in a new PID namespace.
    pub(super) fn start(single: &SingleThreaded) -> io::Result<Self> {
        let shim = pidfd_open(getpid(), PidfdFlags::empty())?;
        match process::clone(NewNamespaces::PID.with(NewNamespaces::MOUNT), None, single)? {
            Cloned::Parent { pidfd, .. } => Ok(PodInit { pidfd }),
            Cloned::Child => run(&shim),
        }
    }
}

impl AsFd for PodInit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for PodInit {
    fn drop(&mut self) {
        // Both fail only when it is dead and reaped already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The whole life of the init. The kernel keeps from it every signal of its own namespace, as it handles none.
fn run(shim: &OwnedFd) -> ! {
    if become_harmless().is_err() {
        process::exit(1);
    }
    let tied = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A shim that died before the line above will never send that signal.
    if !tied || is_dead(shim) {
        process::exit(1);
    }
    // None of these can keep it from its work: a name for `ps`, and letting go of what the shim has open.
    let _ = rustix::thread::set_name(c"cradle-init");
    let _ = setsid();
    let _ = process::close_all_but(&[]);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child: all signals are blocked, so the death of the next one is pending when it comes.
            Err(_) if process::wait_for_signal().is_ok() => {}
            Err(_) => process::exit(1),
        }
    }
}

/// The containers see the init in their PID namespace, and one with CAP_SYS_PTRACE can take it over. There is nothing to
/// gain then: an empty root, a user that is nobody, no capability, and no process to be made.
fn become_harmless() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    shm::become_root(&shm::empty()?)?;
    setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum: Some(0) })?;
    identity::limit_capabilities(CapabilitySet(0))?;
    let nobody = Identity { uid: NOBODY, gid: NOBODY, supplementary_gids: Vec::new() };
    identity::become_user(&nobody)?;
    identity::set(&CapabilitySets::default())?;
    Ok(set_no_new_privs(true)?)
}

fn is_dead(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}
