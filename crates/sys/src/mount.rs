//! What rustix lacks of the mount API: mount_setattr(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;

use crate::errno::check;

/// A change of a mount's attributes (mount_setattr(2)), `MOUNT_ATTR_*` bits.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttributeChange<'a> {
    pub set: u64,
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// Present the mount through the mapping of this user namespace.
    pub idmap: Option<BorrowedFd<'a>>,
}

/// How far a change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The mount alone.
    Mount,
    /// The mount and all beneath it.
    Tree,
}

/// Changes the mount whose root is `mount`.
pub fn set_attributes(mount: BorrowedFd<'_>, change: &AttributeChange<'_>, reach: Reach) -> Result<()> {
    let recursive = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    set(mount.as_raw_fd(), c"", change, libc::AT_EMPTY_PATH | recursive)
}

/// Whether the kernel has mount_setattr (Linux 5.12), and with it recursive read-only and idmapped mounts.
pub fn can_set_attributes() -> bool {
    // Without a path there is nothing to change: a kernel that has the call says so.
    set(-1, c"", &AttributeChange::default(), 0) != Err(rustix::io::Errno::NOSYS)
}

fn set(fd: i32, path: &CStr, change: &AttributeChange<'_>, flags: i32) -> Result<()> {
    let idmap = if change.idmap.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: change.set | idmap,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the path is NUL-terminated and `attributes` has the size that is stated; both live during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            path.as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
