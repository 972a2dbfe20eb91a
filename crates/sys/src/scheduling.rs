//! How soon a thread runs after it was woken (sched(7), sched_setattr(2)).

use std::time::Duration;

use rustix::io::{Errno, Result};

use crate::errno::check;

/// The shortest time slice that the kernel grants.
const SHORTEST_SLICE: Duration = Duration::from_micros(100);

/// Asks for the shortest time slices for the calling thread, and not for what it starts.
///
/// Its share of the processors stays what it is. It gets it in smaller pieces and sooner: when it is woken, it goes before
/// one that has longer slices and is running, instead of waiting until that one's slice of some milliseconds is used up.
/// Since Linux 6.12; earlier kernels take the wish and do nothing. Nor is anything done for a thread with another policy
/// than the common one, which somebody has given it on purpose.
pub fn prefer_short_slices() -> Result<()> {
    let size = u32::try_from(std::mem::size_of::<libc::sched_attr>()).map_err(|_| Errno::OVERFLOW)?;
    let mut attributes = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this, none) = (0, 0);
    // SAFETY: the kernel writes no more than `size` bytes, which `attributes` has.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, this, &raw mut attributes, size, none) })?;
    if attributes.sched_policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(());
    }
    attributes.size = size;
    attributes.sched_runtime = u64::try_from(SHORTEST_SLICE.as_nanos()).map_err(|_| Errno::OVERFLOW)?;
    attributes.sched_flags |= u64::from(libc::SCHED_FLAG_RESET_ON_FORK.cast_unsigned());
    // SAFETY: the kernel reads the `size` bytes of `attributes`.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, this, &raw const attributes, none) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice_and_niceness() -> (u64, i32, u64) {
        let mut attributes = [0_u64; 6];
        // SAFETY: the kernel writes no more than the 48 bytes of `attributes`.
        let asked = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 48, 0) };
        assert_eq!(asked, 0);
        (attributes[3], (attributes[2] as u32).cast_signed(), attributes[1])
    }

    #[test]
    fn a_thread_gets_short_slices_and_keeps_its_niceness_and_what_it_starts_gets_none() {
        std::thread::spawn(|| {
            let (_, niceness, _) = slice_and_niceness();
            prefer_short_slices().unwrap();
            let (slice, after, flags) = slice_and_niceness();
            assert_eq!(after, niceness);
            assert_eq!(flags & 1, 1, "reset on fork");
            let inner = std::thread::spawn(slice_and_niceness).join().unwrap();
            // Kernels before 6.12 tell no slice.
            if slice != 0 {
                assert_eq!(slice, 100_000);
                assert_ne!(inner.0, slice);
            }
            assert_eq!((inner.1, inner.2 & 1), (niceness, 0));
        })
        .join()
        .unwrap();
    }
}
