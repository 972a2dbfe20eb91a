//! Error numbers of system calls made through libc.

use rustix::io::{Errno, Result};

/// The error of the last libc call that failed in this thread.
pub fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Turns the "-1 means look at errno" of libc into a result.
pub(crate) fn check(returned: libc::c_long) -> Result<libc::c_long> {
    if returned == -1 { Err(last()) } else { Ok(returned) }
}
