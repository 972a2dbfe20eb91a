//! Whether and how this machine can run pods with a user namespace of their own: tried, as versions and names of file
//! systems say little.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use cradle_sys::process::{self, Cloned, NewNamespaces};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::error::StartError;
use super::failure::{Explain, StepError};
use super::mounts;
use super::overlay::Overlay;
use crate::plan::mount_options::Attributes;
use crate::plan::{Depth, IdMapping, IdRange};
use crate::user_namespace;

/// A folder that every machine has. What is mounted there is seen by nobody else.
const SOMEWHERE: &str = "/sys";

/// How such pods get images.
#[derive(Debug)]
pub enum Layers {
    /// Their owners are mapped as they are mounted.
    Mapped,
    /// In copies, with other owners; why they cannot be mapped.
    Copied(StartError),
}

/// Does what such a pod needs, with images in `store`. Leaves nothing behind but a mount namespace of the calling
/// process's own, which must end.
pub fn user_namespaces(store: &Path, single: &SingleThreaded) -> Result<Layers, StartError> {
    let range = vec![IdRange { inside: 0, outside: 1, length: 1 }];
    let mapping = IdMapping { uids: range.clone(), gids: range };
    let made = user_namespace::make(&mapping, single);
    let made = made.map_err(|error| StartError::io("making a user namespace", &error))?;
    namespace::unshare(Kinds::MOUNT, single).map_err(|errno| StartError::kernel("making a mount namespace", errno))?;
    mapped_tmpfs(made.as_fd()).map_err(|error| StartError::step("volumes whose owners are mapped", error))?;
    let mapped = overlay_of_mapped(store, made.as_fd());
    let mapped = mapped.map_err(|error| StartError::step("an overlay of images whose owners are mapped", error));
    proc_inside(single)?;
    Ok(mapped.map_or_else(Layers::Copied, |()| Layers::Mapped))
}

/// What the kubelet and the daemon give to containers lies in such ones.
fn mapped_tmpfs(mapping: BorrowedFd<'_>) -> Result<(), StepError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let made = mounts::new_filesystem("tmpfs", "tmpfs", &[], 0)?;
    map(&made, mapping, "a tmpfs")?;
    Ok(mounts::attach(&made, &open(Path::new(SOMEWHERE))?)?)
}

fn overlay_of_mapped(store: &Path, mapping: BorrowedFd<'_>) -> Result<(), StepError> {
    let named = || store.display().to_string();
    let copied = mounts::copy_path(store, Depth::Mount).explain(named)?;
    map(&copied, mapping, &named())?;
    move_mount(&copied, c"", CWD, store, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).explain(named)?;
    let lower = [store.to_owned(), PathBuf::from(SOMEWHERE)];
    Overlay { lower: &lower, writable: None, label: None }.mount(&open(store)?)
}

fn map(mount: &OwnedFd, mapping: BorrowedFd<'_>, what: &str) -> Result<(), StepError> {
    let mapped = mounts::shape(mount, Attributes::default(), None, Some(mapping));
    mapped.explain(|| format!("mapping the owners in {what}"))
}

fn open(folder: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel mounts no procfs in a user namespace where a part of the present one is covered.
fn proc_inside(single: &SingleThreaded) -> Result<(), StartError> {
    let doing = "mounting /proc in a user namespace";
    let new = NewNamespaces::USER.with(NewNamespaces::PID).with(NewNamespaces::MOUNT);
    match process::clone(new, None, single).map_err(|errno| StartError::kernel(doing, errno))? {
        Cloned::Child => {
            let made = mounts::new_filesystem("proc", "proc", &[], 0);
            process::exit(made.map_or_else(|error| error.errno, |_| 0))
        }
        Cloned::Parent { pidfd, .. } => {
            let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            let ended = ended.map_err(|errno| StartError::kernel(doing, errno))?;
            match ended.and_then(|status| status.exit_status()) {
                Some(0) => Ok(()),
                Some(libc::EPERM) => Err(StartError::Step {
                    doing: format!("{doing}: a part of this machine's /proc is covered, as in a container"),
                }),
                code => Err(StartError::Ended { code: code.unwrap_or(-1) }),
            }
        }
    }
}
