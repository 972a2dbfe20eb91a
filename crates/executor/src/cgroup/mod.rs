//! Control groups of pods and containers, on cgroup v1, v1 with a unified tree beside it (hybrid) and v2.

mod group;
mod layout;
mod plan;

pub use group::{Cgroup, create, move_process};
pub use group::{AttachError, CreateError, KillError, RemoveError, StatsError, UpdateError};
pub use group::Stats;
pub use layout::{Layout, LayoutError};
pub use plan::{CgroupPlan, DeviceRule, IfMissing, PlanError, Write, plan};
