//! Entering and leaving namespaces: setns and unshare.

use std::os::fd::BorrowedFd;

use rustix::io::Result;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::SingleThreaded;
use crate::errno::check;

/// Kinds of namespaces.
pub type Kinds = ThreadNameSpaceType;

/// Enters the namespace `of` (a file of `/proc/PID/ns`, whose kind must be the one in `kinds`) or, for a pidfd, the
/// namespaces of these kinds of that process (setns(2)).
///
/// A PID namespace is entered by children only. Entering a mount namespace changes root and working directory.
pub fn enter(of: BorrowedFd<'_>, kinds: Kinds, _: &SingleThreaded) -> Result<()> {
    move_into_thread_name_spaces(of, kinds)
}

/// Leaves the shared namespaces of these kinds for new ones (unshare(2)). A new PID or time namespace is for children
/// only.
pub fn unshare(kinds: Kinds, _: &SingleThreaded) -> Result<()> {
    let flags = i32::try_from(kinds.bits()).unwrap_or(0);
    // SAFETY: unshare takes no pointer. Only CLONE_NEW* bits can be set: the descriptor table and the memory stay.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}
