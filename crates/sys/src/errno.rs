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

/// What an error number means, in words and without the number.
pub fn describe(number: i32) -> &'static str {
    nix::errno::Errno::from_raw(number).desc()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_is_described_in_words() {
        assert_eq!(super::describe(libc::ENOENT), "No such file or directory");
    }
}
