//! Which of several pipes was written to first: each write is told by a real-time signal, and those are queued in the
//! order in which they were sent (fcntl(2), `F_SETSIG`; signal(7)).
//!
//! Nothing else in the kernel keeps that order: a wait for two pipes tells which of them can be read, and no more.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

use crate::errno::check;

/// Of asm-generic/fcntl.h, which libc leaves out.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// Writes that are taken with one system call.
const BATCH: usize = 32;
const SIGNAL_BYTES: usize = size_of::<libc::signalfd_siginfo>();

/// Becomes readable when one of the watched pipes was written to.
///
/// It tells the thread that opened it, and no other.
#[derive(Debug)]
pub struct WriteSignals(SignalFd);

impl WriteSignals {
    /// Blocks, in this thread, the two signals that it takes.
    pub fn open() -> io::Result<Self> {
        let mut signals: libc::sigset_t = *SigSet::empty().as_ref();
        for signal in [libc::SIGRTMIN(), libc::SIGIO] {
            // SAFETY: `signals` is an initialised set.
            check(unsafe { libc::sigaddset(&raw mut signals, signal) }.into())?;
        }
        // SAFETY: `signals` is an initialised set. It is only handed on to the kernel.
        let signals = unsafe { SigSet::from_sigset_t_unchecked(signals) };
        signals.thread_block()?;
        Ok(WriteSignals(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Has every write to a pipe told from now on, by the number of this reading end, which does not block any more.
    ///
    /// Linux 5.5 to 5.13 tell only the write that makes an empty pipe readable.
    pub fn watch(&self, reader: impl AsFd) -> Result<(), Errno> {
        let reader = reader.as_fd().as_raw_fd();
        let owner = [F_OWNER_TID, rustix::thread::gettid().as_raw_nonzero().get()];
        // SAFETY: F_SETOWN_EX reads the two numbers of struct f_owner_ex.
        check(unsafe { libc::fcntl(reader, F_SETOWN_EX, owner.as_ptr()) }.into())?;
        // SAFETY: F_SETSIG takes a number.
        check(unsafe { libc::fcntl(reader, F_SETSIG, libc::SIGRTMIN()) }.into())?;
        // SAFETY: F_SETFL takes a number.
        check(unsafe { libc::fcntl(reader, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) }.into()).map(drop)
    }

    /// Appends to `pipes` the reading end of the pipe of each write that was told, until there
    /// are no more, or `most` or some more.
    ///
    /// True: there were more than the kernel keeps signals for (`RLIMIT_SIGPENDING`), so every pipe may hold something
    /// that is not told.
    pub fn drain(&self, pipes: &mut Vec<RawFd>, most: usize) -> Result<bool, Errno> {
        let mut untold = false;
        while pipes.len() < most {
            let mut told = [0; BATCH * SIGNAL_BYTES];
            let bytes = match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut told)) {
                Err(Errno::AGAIN) => break,
                other => other?,
            };
            for signal in told[..bytes].chunks_exact(SIGNAL_BYTES) {
                let number =
                    |at: usize| i32::from_ne_bytes([signal[at], signal[at + 1], signal[at + 2], signal[at + 3]]);
                match number(offset_of!(libc::signalfd_siginfo, ssi_signo)) {
                    libc::SIGIO => untold = true,
                    _ => pipes.push(number(offset_of!(libc::signalfd_siginfo, ssi_fd))),
                }
            }
            if bytes < told.len() {
                break;
            }
        }
        Ok(untold)
    }
}

impl AsFd for WriteSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(signals: &WriteSignals, most: usize) -> Vec<RawFd> {
        let mut pipes = Vec::new();
        assert!(!signals.drain(&mut pipes, most).unwrap());
        pipes
    }

    #[test]
    fn every_write_is_told_and_in_its_order() {
        let signals = WriteSignals::open().unwrap();
        let pipes: Vec<_> = (0..3).map(|_| rustix::pipe::pipe().unwrap()).collect();
        for (reader, _) in &pipes {
            signals.watch(reader).unwrap();
        }
        assert_eq!(told(&signals, usize::MAX), []);
        let mut expected = Vec::new();
        for n in 0..3 * BATCH {
            let (reader, writer) = &pipes[n * n % 3];
            rustix::io::write(writer, b"x").unwrap();
            expected.push(reader.as_raw_fd());
        }
        assert_eq!(told(&signals, 1)[..], expected[..BATCH]);
        assert_eq!(told(&signals, usize::MAX)[..], expected[BATCH..]);
        assert_eq!(rustix::io::read(&pipes[2].0, &mut [0; 1]), Err(Errno::AGAIN), "reading does not block");
    }

    #[test]
    fn what_is_written_by_another_name_of_the_pipe_is_told_as_well() {
        let signals = WriteSignals::open().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        signals.watch(&reader).unwrap();
        std::fs::write(format!("/proc/self/fd/{}", writer.as_raw_fd()), b"x").unwrap();
        assert_eq!(told(&signals, usize::MAX), [reader.as_raw_fd()]);
    }
}
