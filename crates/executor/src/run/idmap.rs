//! User namespaces that exist only to map the ids of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::error::StartError;
use crate::plan::{IdMapping, IdRange, MountSource, Step};

/// For each step that mounts with a mapping, in the places of the steps, a user namespace with that mapping.
///
/// They are made before the clone, by the shim: the child may be in a PID namespace whose processes have other numbers
/// than the host's `/proc` shows.
pub(super) fn user_namespaces(steps: &[Step], single: &SingleThreaded) -> Result<Vec<Option<OwnedFd>>, StartError> {
    let mapping = |step: &Step| match step {
        Step::Mount(mount) => match &mount.what {
            MountSource::Bind { mapping: Some(mapping), .. } => Some(mapping.clone()),
            _ => None,
        },
        _ => None,
    };
    if !steps.iter().any(|step| mapping(step).is_some()) {
        return Ok(Vec::new());
    }
    let made = steps.iter().map(|step| mapping(step).map(|mapping| user_namespace(&mapping, single)).transpose());
    made.collect::<io::Result<_>>().map_err(|error| StartError::io("mapping the ids of a mount", &error))
}

fn user_namespace(mapping: &IdMapping, single: &SingleThreaded) -> io::Result<OwnedFd> {
    match process::clone(NewNamespaces::USER, None, single)? {
        Cloned::Child => {
            // It holds the namespace until it is killed, a few system calls later; with the shim it dies too.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let _ = process::block_signals();
            loop {
                let _ = process::wait_for_signal();
            }
        }
        Cloned::Parent { pid, pidfd } => {
            let made = map_and_open(pid, mapping);
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            made
        }
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
