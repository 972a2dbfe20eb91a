//! Descriptors that a program gets from whoever started it, by number.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that were taken already, as bits.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes the inherited descriptor `number` (3 to 63) and marks it close-on-exec.
///
/// # Errors
/// It is not open, its number is out of range, or it was taken before: a descriptor has one owner.
pub fn take(number: u32) -> io::Result<OwnedFd> {
    let raw = i32::try_from(number).ok().filter(|raw| (3..64).contains(raw)).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: F_SETFD has no other effect than to mark the descriptor, and fails on one that is not open.
    let marked = unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) };
    if marked < 0 {
        return Err(io::Error::last_os_error());
    }
    let bit = 1 << number;
    if TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: it is open, as the line above found, and nobody owns it: programs call this for descriptors that their
    // contract with the starter names, before they open any of their own, and each number is handed out once.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_not_open_is_refused() {
        assert!(take(0).is_err());
        assert!(take(64).is_err());
        assert!(take(63).is_err());
    }
}
