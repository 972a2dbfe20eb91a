//! User namespaces: made in a child that lives for a few system calls, kept by descriptor.
//!
//! The shim never enters one, as there is no way back. It stays the host's root, which has every capability over the
//! namespaces that a user namespace owns.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Gid, Signal, Uid, set_parent_process_death_signal};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::plan::{IdMapping, IdRange};
use crate::run::kill;

/// What the parent says when the ids are mapped.
const MAPPED: u8 = b'm';

/// Makes a user namespace for the mapping of a mount's ids (mount_setattr(2), MOUNT_ATTR_IDMAP).
pub(crate) fn make(mapping: &IdMapping, single: &SingleThreaded) -> io::Result<OwnedFd> {
    let made = match process::clone(NewNamespaces::USER, None, single)? {
        Cloned::Child => wait_to_be_killed(),
        Cloned::Parent { pid, pidfd } => (map_and_open(pid, mapping), pidfd),
    };
    kill(&made.1);
    made.0
}

/// Makes a user namespace and namespaces of these kinds that it owns, and moves the calling process into the latter.
///
/// They are made by the root of the user namespace: what an IPC namespace has from the start, such as the folder of its
/// message queues, belongs to the user who makes it.
pub(crate) fn make_with(mapping: &IdMapping, owned: Kinds, single: &SingleThreaded) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match process::clone(NewNamespaces::USER, None, single)? {
        Cloned::Child => {
            drop(ours);
            let made = unshare_when_mapped(&theirs, owned, single);
            let errno = made.map_or_else(Errno::raw_os_error, |()| 0);
            let _ = rustix::io::write(&theirs, &errno.to_le_bytes());
            wait_to_be_killed()
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let made = map_and_open(pid, mapping).and_then(|namespace| {
                rustix::io::write(&ours, &[MAPPED])?;
                let mut answer = [0; 4];
                match (rustix::io::read(&ours, &mut answer)?, i32::from_le_bytes(answer)) {
                    (4, 0) => namespace::enter(pidfd.as_fd(), owned, single)?,
                    (4, errno) => return Err(Errno::from_raw_os_error(errno).into()),
                    _ => return Err(io::Error::other("the process that makes them was killed")),
                }
                Ok(namespace)
            });
            kill(&pidfd);
            made
        }
    }
}

fn unshare_when_mapped(line: &OwnedFd, owned: Kinds, single: &SingleThreaded) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::io::read(line, &mut [0; 1])? == 0 {
        // The shim is gone, and nobody reads this.
        return Err(Errno::PIPE);
    }
    become_root()?;
    namespace::unshare(owned, single)
}

/// Becomes root of the user namespace that the process has entered.
pub(crate) fn become_root() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Holds a namespace until it is known by descriptor; ends with the shim as well.
fn wait_to_be_killed() -> ! {
    // Whoever died before this was not told of the namespace, and nobody waits.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = process::block_signals();
    loop {
        let _ = process::wait_for_signal();
    }
}

fn map_and_open(pid: i32, mapping: &IdMapping) -> io::Result<OwnedFd> {
    std::fs::write(format!("/proc/{pid}/uid_map"), lines(&mapping.uids))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), lines(&mapping.gids))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?)
}

fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.length)).collect()
}
