//! The allocator of a process that must stay small: glibc keeps freed memory unless it is told not to (mallopt(3)).

/// Allocations from this size on are mapped and given back when they are freed. Setting it also switches off glibc's
/// habit of raising it after the first large free.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 32 * 1024;

/// Free memory at the end of the heap that is kept.
#[cfg(target_env = "gnu")]
const KEPT_AT_END_BYTES: libc::c_int = 16 * 1024;

/// Makes the allocator give memory back early. Elsewhere than with glibc this does nothing.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only changes numbers of the allocator and may be called at any time.
        let mapped = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) };
        // SAFETY: as above.
        let trimmed = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_AT_END_BYTES) };
        // SAFETY: as above.
        let padded = unsafe { libc::mallopt(libc::M_TOP_PAD, 4096) };
        debug_assert!(mapped == 1 && trimmed == 1 && padded == 1, "glibc knows these parameters");
    }
}

/// Gives all free pages of the heap back to the kernel (malloc_trim(3)).
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim touches only memory that the allocator holds free.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}
