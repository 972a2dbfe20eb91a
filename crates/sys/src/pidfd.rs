//! Signals to a process by its descriptor, which never names another process (pidfd_send_signal(2)).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Result;

use crate::errno::check;

/// Sends signal `number`, real-time ones included (rustix has only those with names). `ESRCH`: the process is gone.
pub fn send_signal(pidfd: impl AsFd, number: i32) -> Result<()> {
    let descriptor = pidfd.as_fd().as_raw_fd();
    // SAFETY: a null siginfo is allowed and means what kill(2) would send; the descriptor is borrowed for the call.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, descriptor, number, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn a_living_process_takes_signal_zero_and_an_unknown_signal_is_refused() {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(send_signal(&own, 0), Ok(()));
        assert_eq!(send_signal(&own, 65), Err(Errno::INVAL));
    }
}
