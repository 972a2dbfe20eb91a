//! The `/dev/shm` that the containers of a pod share (POSIX shared memory belongs to the IPC namespace by custom).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cradle_sys::SingleThreaded;
use cradle_sys::namespace::{self, Kinds};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use super::PodPlan;
use crate::procfs::Procfs;

/// The host's, for pods in its IPC namespace.
const HOST: &CStr = c"/dev/shm";

const COPYING: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Where a pod's shared memory is.
#[derive(Debug)]
pub(crate) enum SharedMemory {
    Host,
    /// A tmpfs that is attached nowhere.
    Detached(OwnedFd),
    /// A tmpfs that is the root of a mount namespace of its own: before Linux 6.15, a mount that is attached nowhere
    /// cannot be copied, nor one of another mount namespace.
    InNamespace(OwnedFd),
}

impl SharedMemory {
    /// A new tmpfs of the plan's size, owned by the pod's root.
    pub(super) fn new(plan: &PodPlan, procfs: &Procfs, single: &SingleThreaded) -> io::Result<Self> {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, c"source", c"shm")?;
        fsconfig_set_string(&context, c"mode", c"1777")?;
        fsconfig_set_string(&context, c"size", plan.shm_size_bytes.to_string())?;
        if let Some(mapping) = &plan.user {
            for (key, id) in [(c"uid", mapping.outer_uid(0)), (c"gid", mapping.outer_gid(0))] {
                fsconfig_set_string(&context, key, id.unwrap_or_default().to_string())?;
            }
        }
        fsconfig_create(&context)?;
        let attributes =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        match copy(&mount) {
            Ok(_) => Ok(SharedMemory::Detached(mount)),
            Err(Errno::INVAL) => Self::in_namespace(&mount, procfs, single),
            Err(error) => Err(error.into()),
        }
    }

    fn in_namespace(mount: &OwnedFd, procfs: &Procfs, single: &SingleThreaded) -> io::Result<Self> {
        let own = procfs.own_namespace("mnt")?;
        namespace::unshare(Kinds::MOUNT, single)?;
        let moved = become_root(mount).and_then(|()| procfs.own_namespace("mnt"));
        // Back in any case: the shim lives in the host's.
        namespace::enter(own.as_fd(), Kinds::MOUNT, single)?;
        Ok(SharedMemory::InNamespace(moved?))
    }

    /// A copy of the mount, to be attached in the calling process's mount namespace. Root and working directory of the
    /// process may be those of its mount namespace afterwards.
    pub(crate) fn open_copy(&self, procfs: &Procfs, single: &SingleThreaded) -> io::Result<OwnedFd> {
        match self {
            SharedMemory::Host => Ok(open_tree(CWD, HOST, COPYING)?),
            SharedMemory::Detached(mount) => Ok(copy(mount)?),
            SharedMemory::InNamespace(namespace) => {
                let own = procfs.own_namespace("mnt")?;
                namespace::enter(namespace.as_fd(), Kinds::MOUNT, single)?;
                let copied = open_tree(CWD, c"/", COPYING);
                namespace::enter(own.as_fd(), Kinds::MOUNT, single)?;
                Ok(copied?)
            }
        }
    }
}

/// A file system without content that stays so.
pub(super) fn empty() -> io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"nr_inodes", c"1")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

/// Makes a tmpfs the root of this mount namespace and lets go of everything else in it.
pub(super) fn become_root(mount: &OwnedFd) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    move_mount(mount, c"", CWD, c"/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(mount)?;
    rustix::process::pivot_root(".", ".")?;
    Ok(unmount(".", UnmountFlags::DETACH)?)
}

fn copy(mount: &OwnedFd) -> Result<OwnedFd, Errno> {
    open_tree(mount, c"", COPYING | OpenTreeFlags::AT_EMPTY_PATH)
}
