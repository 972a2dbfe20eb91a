//! The first process of a PID namespace that the containers of a pod share: it reaps, and nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, WaitOptions, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit, setsid,
};
use rustix::thread::set_no_new_privs;

use super::shm;
use crate::plan::capabilities::{CapabilitySet, CapabilitySets};
use crate::plan::{IdMapping, Identity};
use crate::run::line::{self, Line, Message};
use crate::run::{identity, kill, successor};
use crate::user_namespace;

/// The user and group of the init.
const NOBODY: u32 = 65534;

/// The init of a pod. Dropped, it is killed, and with it every process of its namespace.
#[derive(Debug)]
pub(super) struct PodInit {
    pidfd: OwnedFd,
}

impl PodInit {
    /// Starts it in a new PID namespace, which belongs to the user namespace `user` if there is one; returns when it is
    /// what it shall be.
    pub(super) fn start(user: Option<(&IdMapping, BorrowedFd<'_>)>, single: &SingleThreaded) -> io::Result<Self> {
        let (ours, theirs) = line::open()?;
        let new = NewNamespaces::PID.with(NewNamespaces::MOUNT);
        match process::clone(if user.is_some() { NewNamespaces::default() } else { new }, None, single)? {
            Cloned::Parent { pidfd, .. } => {
                drop(theirs);
                let (mut init, mut _predecessor) = (PodInit { pidfd }, None);
                loop {
                    match ours.next()? {
                        // It is not to be killed before it has let its successor go: so it is dropped at the end.
                        Message::Successor { pidfd, .. } => {
                            _predecessor = Some(std::mem::replace(&mut init, PodInit { pidfd }));
                        }
                        Message::Ready => return Ok(init),
                        // Its end of the line is closed without a word when it could not.
                        _ => return Err(io::Error::other("the process has ended")),
                    }
                }
            }
            Cloned::Child => {
                drop(ours);
                if let Some((_, namespace)) = user
                    && enter(namespace, new, &theirs, single).is_err()
                {
                    process::exit(1);
                }
                run(user.map(|(mapping, _)| mapping), &theirs)
            }
        }
    }
}

/// Enters the pod's user namespace and returns as root of it, in new namespaces.
fn enter(user: BorrowedFd<'_>, new: NewNamespaces, line: &Line, single: &SingleThreaded) -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    namespace::enter(user, Kinds::USER, single)?;
    user_namespace::become_root()?;
    Ok(successor::succeed(new, line, single)?)
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
fn run(mapping: Option<&IdMapping>, line: &Line) -> ! {
    let _ = rustix::thread::set_name(c"cradle-init");
    // A death must be pending when it is waited for, not forgotten.
    if process::block_signals().is_err() || become_harmless(mapping).is_err() {
        process::exit(1);
    }
    let tied = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A shim that died before the line above will never send that signal.
    if !tied || line.is_cut() {
        process::exit(1);
    }
    // None of these can keep it from its work.
    let _ = setsid();
    let _ = line.send_ready();
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
fn become_harmless(mapping: Option<&IdMapping>) -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    shm::become_root(&shm::empty()?)?;
    setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum: Some(0) })?;
    identity::limit_capabilities(CapabilitySet(0))?;
    // A small user namespace has no nobody.
    let uid = mapping.map_or(NOBODY, |mapping| mapping.outer_uid(NOBODY).map_or(0, |_| NOBODY));
    let gid = mapping.map_or(NOBODY, |mapping| mapping.outer_gid(NOBODY).map_or(0, |_| NOBODY));
    identity::become_user(&Identity { uid, gid, supplementary_gids: Vec::new() })?;
    identity::set(&CapabilitySets::default())?;
    Ok(set_no_new_privs(true)?)
}
