//! Decides what happens to pods and containers: acts on a pod are tasks that meet in its lane; they record intentions,
//! plan, and have the pod's shim act. Recovery compares records with what is there. The ports are the traits that it
//! needs of the world.
//!
//! Nothing here knows the CRI's messages, registries, layers or netlink.

mod act;
mod apparmor;
mod container;
mod creations;
mod engine;
mod host_path;
pub mod limits;
mod oci;
mod pod;
mod pod_cgroup;
mod pod_files;
pub mod ports;
pub mod request;
mod seccomp;
pub mod shims;
pub mod spec;
pub mod usage;
mod user;
pub mod view;

pub use act::attach::{AttachEnds, AttachStreams, Attachment};
pub use act::exec::{Exec, ExecEnds, ExecStreams};
pub use engine::{Engine, EngineStatus, ExecOutput, Settings, joined};
