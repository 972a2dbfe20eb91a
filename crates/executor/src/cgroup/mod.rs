//! Control groups of pods and containers on cgroup v1, v1 with a unified tree beside it (hybrid) and v2.
//!
//! [`plan`] is pure: OCI resources → a printable list of writes and device rules. [`create`] performs a plan, and
//! [`Cgroup`] is what then exists: processes join it, limits change, it is killed, read and removed. [`Layout`] says
//! which trees the machine has mounted where.
//!
//! # How a child joins
//!
//! A write of a pid to `cgroup.procs` takes a lock of the kernel that waits, after 40 ms of rest, for a grace period of
//! 7 to 15 ms. Two ways in need no such lock, and together they cover every layout:
//!
//! - clone3 with CLONE_INTO_CGROUP and [`Cgroup::directory`], for the unified tree (v2 and hybrid);
//! - a thread that writes "0" into `tasks` of a v1 tree moves itself ([`Cgroup::entrance`], [`Cgroup::join`]).
//!   The child has one thread when it does so, hence nothing of it stays behind.
//!
//! Measured on a v1 machine with nine trees after 150 ms of rest: 0.13 to 0.28 ms for all of them, against 6.7 to 16 ms
//! by pid. [`Cgroup::attach`] is the slow way, for processes that cannot help.
//!
//! # What belongs to an exec
//!
//! [`Cgroup::exec_child`] makes a group below the container's in one tree only, see there.

mod both;
mod create;
mod device;
mod device_program;
mod exec;
mod file;
mod group;
mod kill;
mod layout;
mod limits;
mod path;
mod plan;
mod remove;
mod stats;
mod update;
mod v1;
mod v2;
mod write;

#[cfg(test)]
mod tests;

pub use create::{CreateError, create};
pub use device::{Access, DeviceKind, DeviceRule, DeviceRules, Verdict};
pub use exec::{ExecChildError, ExecGroup};
pub use file::FileError;
pub use group::{AttachError, Cgroup, Entrance, move_process};
pub use kill::KillError;
pub use layout::{Hierarchy, Kind, Layout, LayoutError};
pub use path::BadPath;
pub use plan::{CgroupPlan, IfMissing, PlanError, Write, plan};
pub use remove::RemoveError;
pub use stats::{CpuStats, IoStats, MemoryStats, PidStats, Pressure, PressureLine, Stats, StatsError, SwapStats};
pub use update::UpdateError;
pub use write::LimitError;
