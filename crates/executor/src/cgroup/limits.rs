//! Bounds of what is done with control groups.

use std::time::Duration;

/// Longest path of a group below the root of its tree, in bytes.
pub(super) const PATH_MAX_BYTES: usize = 3072;

/// Longest single name in the path of a group, in bytes (NAME_MAX of the kernel).
pub(super) const NAME_MAX_BYTES: usize = 255;

/// Largest number of device rules in a plan. Containers have about twenty; each costs a few instructions on v2.
pub(super) const DEVICE_RULES_MAX: usize = 1024;

/// Largest number of device programs looked for on one group; the kernel itself allows 64.
pub(super) const DEVICE_PROGRAMS_MAX: usize = 64;

/// Passes over the processes of a group before [`super::Cgroup::kill`] gives up on one that keeps growing.
pub(super) const KILL_PASSES_MAX: usize = 64;

/// Pauses between attempts to remove a group that is still busy: its last process may be dying.
pub(super) const REMOVE_PAUSES: [Duration; 8] = [
    Duration::from_micros(100),
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(60),
    Duration::from_millis(100),
];

/// Depth to which groups below a container's are looked for; the container itself may have made them.
pub(super) const SUBTREE_DEPTH_MAX: usize = 64;
