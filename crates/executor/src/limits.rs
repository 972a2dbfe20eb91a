//! Bounds of the executor.

use std::time::Duration;

/// A container's or exec's start, from clone3 to execve. The child is killed after it.
pub const START_DEADLINE: Duration = Duration::from_secs(30);

/// The death of a child that was killed; one that takes longer is left to the shim, which reaps every child.
pub const KILL_DEADLINE: Duration = Duration::from_secs(1);

/// Symbolic links followed while a mount point is made, as the kernel does (path_resolution(7)).
pub const SYMLINKS_MAX: u32 = 40;

/// Attempts to resolve a path beneath the root while somebody renames what it goes through (openat2(2), EAGAIN).
pub const RESOLVE_ATTEMPTS_MAX: u32 = 128;

/// Length of what a child says about its failure.
pub const FAILURE_DETAIL_MAX_BYTES: usize = 4096;

/// The page that mount(2) takes its options in, with the NUL at its end.
pub const MOUNT_DATA_MAX_BYTES: usize = 4096;
