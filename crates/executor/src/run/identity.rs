//! Who the process is and what it may do. All of these are raw system calls of the one thread there is: libc's would
//! signal threads that do not exist in a copied process.

use std::io;

use rustix::fs::{FileType, fchown, fstat, makedev};
use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    self, capabilities, configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::plan::Identity;
use crate::plan::capabilities::{CapabilitySet, CapabilitySets};

/// Drops every capability from the bounding set that is not in `kept`, up to the last one that the kernel knows.
/// The ambient set is emptied: nothing of the shim's is inherited.
pub(crate) fn limit_capabilities(kept: CapabilitySet) -> Result<()> {
    thread::clear_ambient_capability_set()?;
    for number in CapabilitySet(!kept.0).numbers() {
        match remove_capability_from_bounding_set(thread::CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Becomes another user. What capabilities are permitted stays so, and all of them are effective, until [`set`].
pub(crate) fn become_user(identity: &Identity) -> Result<()> {
    set_keep_capabilities(true)?;
    let groups: Vec<Gid> = identity.supplementary_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    let kept = capabilities(None)?;
    set_capabilities(None, thread::CapabilitySets { effective: kept.permitted, ..kept })
}

/// Does `act` as another user, with that user's permissions and no capability, and is the present one again afterwards.
///
/// # Errors
/// Those of `act`, and of changing the user. After one of changing it back, this process must end.
pub(crate) fn as_user<T>(uid: u32, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = rustix::process::getuid();
    let readable = rustix::process::dumpable_behavior()?;
    set_thread_res_uid(own, Uid::from_raw(uid), own)?;
    let done = act();
    set_thread_res_uid(own, own, own)?;
    // A machine may be set to make processes that change their user readable (fs.suid_dumpable).
    rustix::process::set_dumpable_behavior(readable)?;
    done
}

/// Sets effective, permitted, inheritable and ambient capabilities.
pub(crate) fn set(sets: &CapabilitySets) -> Result<()> {
    let bits = |set: CapabilitySet| thread::CapabilitySet::from_bits_retain(set.0);
    set_capabilities(
        None,
        thread::CapabilitySets {
            effective: bits(sets.effective),
            permitted: bits(sets.permitted),
            inheritable: bits(sets.inheritable),
        },
    )?;
    for number in sets.ambient.numbers() {
        configure_capability_in_ambient_set(thread::CapabilitySet::from_bits_retain(1 << number), true)?;
    }
    Ok(())
}

/// Gives the user the pipes or the terminal that stdin, stdout and stderr are, so that `/dev/stdout` can be opened by
/// name. A file system that does not allow it has its reasons; what is no pipe of ours is left alone.
pub(super) fn give_stdio(uid: u32) {
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_ours = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => stat.st_rdev != makedev(1, 3),
            _ => false,
        };
        if is_ours && stat.st_uid != uid {
            let _ = fchown(fd, Some(Uid::from_raw(uid)), None);
        }
    }
}
