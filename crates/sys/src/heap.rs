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

/// Arenas that threads share (`M_ARENA_MAX`): each one more keeps free memory of its own.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 2;

/// Keeps a process of many threads small: by default each of eight threads a processor may have an arena of its own.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only changes numbers of the allocator and may be called at any time.
        let shared = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
        debug_assert!(shared == 1, "glibc knows this parameter");
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
