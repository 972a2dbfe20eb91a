//! The proof that a process has one thread.
//!
//! A forked child has only the thread that called fork: a lock that another thread held stays locked in it for ever, so
//! fork, clone and setns take a [`SingleThreaded`].

use std::marker::PhantomData;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::{Errno, Result};

/// The process has one thread, and it is the caller's. Whoever starts a thread afterwards breaks the promise.
///
/// The token is bound to its thread (it is not `Send`).
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts `/proc/self/task`. `EBUSY`: there are more threads.
    ///
    /// Where `/proc` belongs to a PID namespace that does not contain this process, the kernel is asked instead:
    /// unshare(CLONE_THREAD) does nothing, and does it only for a process with one thread.
    pub fn check() -> Result<Self> {
        let single = match count_tasks() {
            Ok(count) => count == 1,
            Err(Errno::NOENT | Errno::SRCH | Errno::NOTDIR) => crate::process::is_single_threaded(),
            Err(error) => return Err(error),
        };
        if single { Ok(SingleThreaded(PhantomData)) } else { Err(Errno::BUSY) }
    }
}

fn count_tasks() -> Result<usize> {
    let task = openat(CWD, "/proc/self/task", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut count = 0;
    for entry in Dir::new(task)? {
        let entry = entry?;
        count += usize::from(!entry.file_name().to_bytes().starts_with(b"."));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_two_threads_gets_no_token() {
        // The test harness runs this in a thread beside its main thread.
        assert_eq!(SingleThreaded::check().err(), Some(Errno::BUSY));
    }
}
