//! Signals as events: everything is blocked, so nothing interrupts a system call, and the deaths of children are read
//! from a descriptor (signalfd(2)).
//!
//! The mask is inherited by children and kept by `execve`: whoever starts a program from such a process gives it an
//! empty mask first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Becomes readable when a child has died (or several have: signals of one kind are merged).
#[derive(Debug)]
pub struct ChildSignals(SignalFd);

impl ChildSignals {
    /// Blocks every signal of this thread and returns the descriptor that tells of `SIGCHLD`.
    pub fn block_all_and_open() -> io::Result<Self> {
        SigSet::all().thread_block()?;
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        Ok(ChildSignals(SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Takes what is pending; whoever calls this then asks for all dead children.
    pub fn drain(&self) -> io::Result<()> {
        while self.0.read_signal()?.is_some() {}
        Ok(())
    }
}

impl AsFd for ChildSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
