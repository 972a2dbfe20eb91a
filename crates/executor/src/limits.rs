//! Bounds of the executor.

use std::time::Duration;

/// A container's or exec's start, from clone3 to execve. The child is killed after it.
pub const START_DEADLINE: Duration = Duration::from_secs(30);
