//! Making a process and preparing it for its program: clone3, signals, execve.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::SigSet;
use rustix::io::{Errno, Result};

use crate::SingleThreaded;
use crate::errno::check;

/// libc's own constant is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The highest signal number (signal(7)).
const LAST_SIGNAL: libc::c_int = 64;

/// Which side of a clone the caller is.
#[derive(Debug)]
pub enum Cloned {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

/// Namespaces that the child of [`clone`] gets anew, as `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewNamespaces(pub u64);

impl NewNamespaces {
    pub const MOUNT: NewNamespaces = NewNamespaces(libc::CLONE_NEWNS as u64);
    pub const PID: NewNamespaces = NewNamespaces(libc::CLONE_NEWPID as u64);
    pub const NETWORK: NewNamespaces = NewNamespaces(libc::CLONE_NEWNET as u64);
    pub const IPC: NewNamespaces = NewNamespaces(libc::CLONE_NEWIPC as u64);
    pub const UTS: NewNamespaces = NewNamespaces(libc::CLONE_NEWUTS as u64);
    pub const USER: NewNamespaces = NewNamespaces(libc::CLONE_NEWUSER as u64);
    pub const CONTROL_GROUP: NewNamespaces = NewNamespaces(libc::CLONE_NEWCGROUP as u64);

    pub fn contains(self, other: NewNamespaces) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn with(self, other: NewNamespaces) -> NewNamespaces {
        NewNamespaces(self.0 | other.0)
    }
}

/// Copies the process, as fork does, into new namespaces and, on cgroup v2, into the control group whose directory is
/// `cgroup` (clone3(2)). The child's death is told by `SIGCHLD`.
///
/// The child goes on with the parent's memory, descriptors, signal handlers and mask; it must end in [`execute`] or
/// [`exit`].
pub fn clone(new: NewNamespaces, cgroup: Option<BorrowedFd<'_>>, _: &SingleThreaded) -> Result<Cloned> {
    clone3(&libc::clone_args {
        flags: new.0 | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..NOTHING_SHARED
    })
}

/// Copies the process as [`clone()`] does, into new namespaces, but as a child of this process's parent. [`Cloned::Parent`]
/// is this process; the death of the copy is told to the parent of both, by the signal that tells of this process's.
pub fn clone_sibling(new: NewNamespaces, _: &SingleThreaded) -> Result<Cloned> {
    clone3(&libc::clone_args { flags: new.0 | libc::CLONE_PARENT as u64, ..NOTHING_SHARED })
}

const NOTHING_SHARED: libc::clone_args = libc::clone_args {
    flags: 0,
    pidfd: 0,
    child_tid: 0,
    parent_tid: 0,
    exit_signal: 0,
    stack: 0,
    stack_size: 0,
    tls: 0,
    set_tid: 0,
    set_tid_size: 0,
    cgroup: 0,
};

fn clone3(arguments: &libc::clone_args) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = *arguments;
    arguments.flags |= libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd).addr() as u64;
    // SAFETY: without CLONE_VM, which no caller sets, this is a fork: the child has a memory of its own. The token that
    // the callers take says that no other thread can hold a lock, so all code may run in the child. The pointers are to
    // live objects of the stated size.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: with CLONE_PIDFD a successful clone3 stores a new descriptor in `pidfd`, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?, pidfd })
}

/// Replaces the program (execve(2)); returns only with an error.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    match nix::unistd::execve(program, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => Errno::from_raw_os_error(error as i32),
    }
}

/// Ends the process at once: no destructor and no exit handler of the copied parent runs.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// The signals that this process ignores. Whatever it executes would ignore them as well: execve(2) sets those that are
/// handled to their default, and no others.
#[derive(Debug, Clone, Copy)]
pub struct IgnoredSignals(u64);

impl IgnoredSignals {
    pub fn of_this_process() -> Self {
        let ignored = (1..=LAST_SIGNAL).filter(|signal| {
            let mut present = [0_u64; 4];
            let (none, mask_size) = (std::ptr::null::<u64>(), std::mem::size_of::<u64>());
            // SAFETY: `present` is as large as the kernel's struct on every machine, whose first word is the handler.
            // libc would refuse the two signals that it keeps for itself, which a program may have a use for.
            let asked =
                unsafe { libc::syscall(libc::SYS_rt_sigaction, *signal, none, present.as_mut_ptr(), mask_size) };
            asked == 0 && present[0] == libc::SIG_IGN as u64
        });
        IgnoredSignals(ignored.fold(0, |all, signal| all | 1 << (signal - 1)))
    }
}

/// Sets the signals that this process ignores to their default and blocks none: what a program expects to start with.
pub fn default_signals(ignored: IgnoredSignals) -> Result<()> {
    // The kernel's struct: SIG_DFL, no flags, no restorer, nothing masked.
    let default = [0_u64; 4];
    for signal in (1..=LAST_SIGNAL).filter(|signal| ignored.0 & 1 << (signal - 1) != 0) {
        let (none, mask_size) = (std::ptr::null::<u64>(), std::mem::size_of::<u64>());
        // SAFETY: `default` is as large as the kernel's struct on every machine, and installs no handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, mask_size) };
    }
    SigSet::empty().thread_set_mask().map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Blocks every signal of this thread: one that comes stays pending.
pub fn block_signals() -> Result<()> {
    SigSet::all().thread_block().map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Waits until a signal is pending, and takes it (sigwait(3)). The signals must be blocked.
pub fn wait_for_signal() -> Result<()> {
    SigSet::all().wait().map(drop).map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2)).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from 0 on but those in `keep`. Only for a child that uses none of them any more: whoever
/// believes to own one is left with a number.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    keep.sort_unstable();
    let mut first = 0;
    for kept in keep {
        if kept > first {
            close_range(first, kept - 1, 0)?;
        }
        first = kept + 1;
    }
    close_range(first, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: close_range takes no pointer; what closing means for owners is said where it is called.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Gives the process a new session keyring of this name (keyctl(2)), so that it does not share its parent's.
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the pointer is to a live, NUL-terminated string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}

/// Asks the kernel whether this process has one thread: unshare(CLONE_THREAD) changes nothing, and succeeds only then.
pub(crate) fn is_single_threaded() -> bool {
    // SAFETY: unshare takes no pointer, and this flag changes no state of the process.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}
