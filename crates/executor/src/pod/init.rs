//! The first process of a PID namespace that the containers of a pod share: it reaps, and nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getpid, pidfd_open, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::set_no_new_privs;

use super::shm;
use crate::plan::Identity;
use crate::plan::capabilities::{CapabilitySet, CapabilitySets};
use crate::run::{identity, kill};

/// The user and group of the init.
const NOBODY: u32 = 65534;

/// The init of a pod. Dropped, it is killed, and with it every process of its namespace.
#[derive(Debug)]
pub(super) struct PodInit {
    pidfd: OwnedFd,
}

impl PodInit {
    /// Starts it in a new PID namespace; returns when it is what it shall be.
    pub(super) fn start(single: &SingleThreaded) -> io::Result<Self> {
        let shim = pidfd_open(getpid(), PidfdFlags::empty())?;
        let (told, ready) = pipe_with(PipeFlags::CLOEXEC)?;
        match process::clone(NewNamespaces::PID.with(NewNamespaces::MOUNT), None, single)? {
            Cloned::Parent { pidfd, .. } => {
                drop(ready);
                let init = PodInit { pidfd };
                // Its end of the pipe is closed without a word when it could not.
                match rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut [0; 1]))? {
                    0 => Err(io::Error::other("the process has ended")),
                    _ => Ok(init),
                }
            }
            Cloned::Child => run(&shim, &ready),
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
        // It dies when every process of its namespace is dead and reaped; those that the shim has not reaped keep it.
        kill(&self.pidfd);
    }
}

/// The whole life of the init. The kernel keeps from it every signal of its own namespace, as it handles none.
fn run(shim: &OwnedFd, ready: &OwnedFd) -> ! {
    let _ = rustix::thread::set_name(c"cradle-init");
    // A death must be pending when it is waited for, not forgotten.
    if process::block_signals().is_err() || become_harmless().is_err() {
        process::exit(1);
    }
    let tied = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A shim that died before the line above will never send that signal.
    if !tied || is_dead(shim) {
        process::exit(1);
    }
    // None of these can keep it from its work.
    let _ = setsid();
    let _ = rustix::io::write(ready, b"r");
    let _ = process::close_all_but(&[]);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child: wait for the death of the next one.
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
