//! The executor: OCI runtime specification → a printable list of steps → system calls.
//!
//! [`plan`] is pure: it turns a specification and what the machine grants ([`plan::Facts`]) into a
//! [`plan::ContainerPlan`], which can be printed, stored and sent. [`run`] performs a plan inside the shim: one clone3,
//! whose child does the steps in order and becomes the container's process. [`pod`] makes the namespaces that the
//! containers of a pod share. [`cgroup`] and [`seccomp`] do the same for control groups and system call filters.
//!
//! Nothing here knows the daemon, a socket or an image.

pub mod cgroup;
pub mod limits;
pub mod plan;
pub mod pod;
pub mod run;
pub mod seccomp;

mod procfs;
mod sysctl;
mod user_namespace;
