//! Random bytes from the kernel, for identifiers.

use rustix::io::{Errno, Result};

/// `N` random bytes (getrandom(2): up to 256 bytes are never cut short once the kernel's pool is ready).
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    const { assert!(N <= 256, "a longer read may be cut short by a signal") };
    let mut bytes = [0_u8; N];
    loop {
        // SAFETY: the pointer and the length describe `bytes`, which is writable and outlives the call.
        let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
        match usize::try_from(read) {
            Ok(read) if read == N => return Ok(bytes),
            Ok(_) => {}
            Err(_) => match crate::errno::last() {
                Errno::INTR => {}
                error => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::bytes::<32>(), super::bytes::<32>());
    }
}
