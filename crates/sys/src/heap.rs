//! The allocator of a process that must stay small: glibc keeps freed memory unless it is told not to (mallopt(3)).

#[cfg(target_env = "gnu")]
use std::ffi::CString;
use std::io;

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

/// Where glibc reads what it can be told before main only (the GNU C Library manual, "Tunables").
#[cfg(target_env = "gnu")]
const TUNABLES: &str = "GLIBC_TUNABLES";

/// No thread keeps free memory of its own.
#[cfg(target_env = "gnu")]
const WITHOUT_THREAD_CACHES: &str = "glibc.malloc.tcache_count=0";

/// Starts the program again, in the same process, without glibc's caches of free memory: one a thread, which fill over
/// hours, hold up to 0.2 MiB and are never given back. Where somebody has set tunables already, theirs stay.
///
/// # Errors
/// It could not be started again: the caches cost memory, and nothing else.
pub fn restart_without_thread_caches() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    if std::env::var_os(TUNABLES).is_none() {
        use std::os::unix::ffi::OsStringExt;
        let program = CString::new(std::env::current_exe()?.into_os_string().into_vec())?;
        let words: Result<Vec<_>, _> = std::env::args_os().map(|word| CString::new(word.into_vec())).collect();
        let tunables = (TUNABLES.into(), WITHOUT_THREAD_CACHES.into());
        let variables = std::env::vars_os().chain([tunables]);
        let variables = variables.map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
        let environment: Result<Vec<_>, _> = variables.map(CString::new).collect();
        return Err(crate::process::execute(&program, &words?, &environment?).into());
    }
    Ok(())
}

/// Gives all free pages of the heap back to the kernel (malloc_trim(3)).
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim touches only memory that the allocator holds free.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}
